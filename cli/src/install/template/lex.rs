//! Text to tokens. White space next to `{{-` and `-}}` is taken away here.

/// A token and the line it is on.
pub(super) type Placed = (usize, Token);

/// What a template is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Outside of actions.
    Literal(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// A name of a function, or a keyword.
    Word(String),
    /// `.`, alone.
    Dot,
    /// `.name`; true when white space or nothing stands before it, so that it does not continue a chain.
    Field(String, bool),
    /// `$name`; empty for `$`.
    Variable(String),
    Text(String),
    Int(i64),
    Float(f64),
    /// `:=`.
    Declare,
    /// `=`.
    Assign,
    Pipe,
    Comma,
    Left,
    Right,
}

/// Splits a template.
///
/// # Errors
/// The line, and what is wrong there.
pub(super) fn lex(text: &str) -> Result<Vec<Placed>, (usize, String)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line, mut trim) = (text, 1, false);
    loop {
        let (literal, action) = match rest.split_once("{{") {
            Some((literal, action)) => (literal, Some(action)),
            None => (rest, None),
        };
        let trims_before = action.is_some_and(|action| action.starts_with('-') && spaced(&action[1..]));
        let mut kept = if trim { literal.trim_start() } else { literal };
        if trims_before {
            kept = kept.trim_end();
        }
        if !kept.is_empty() {
            tokens.push((line, Token::Literal(kept.to_owned())));
        }
        line += lines(literal);
        let Some(action) = action else { return Ok(tokens) };
        let action = if trims_before { &action[1..] } else { action };
        if let Some(comment) = action.trim_start().strip_prefix("/*") {
            let skipped = action.len() - comment.len();
            let end = comment.find("*/").ok_or((line, "a comment does not end".to_owned()))?;
            let after = &comment[end + 2..];
            trim = after.trim_start().starts_with("-}}");
            let close = after.find("}}").ok_or((line, "a comment does not close its action".to_owned()))?;
            let length = skipped + end + 2 + close + 2;
            line += lines(&action[..length]);
            rest = &action[length..];
            continue;
        }
        tokens.push((line, Token::Open));
        let (length, trims_after) = lex_action(action, &mut line, &mut tokens)?;
        tokens.push((line, Token::Close));
        trim = trims_after;
        rest = &action[length..];
    }
}

fn spaced(text: &str) -> bool {
    text.starts_with(|c: char| c.is_whitespace()) || text.starts_with("/*")
}

fn lines(text: &str) -> usize {
    text.matches('\n').count()
}

/// Splits what is in `{{ }}`. Returns how long it is with `}}`, and whether it takes the white space after it away.
fn lex_action(
    action: &str,
    line: &mut usize,
    tokens: &mut Vec<Placed>,
) -> Result<(usize, bool), (usize, String)> {
    let mut at = 0;
    let mut spaced = true;
    while let Some(first) = action[at..].chars().next() {
        let rest = &action[at..];
        if first.is_whitespace() {
            if rest[first.len_utf8()..].starts_with("-}}") {
                return Ok((at + first.len_utf8() + 3, true));
            }
            *line += usize::from(first == '\n');
            at += first.len_utf8();
            spaced = true;
            continue;
        }
        if rest.starts_with("}}") {
            return Ok((at + 2, false));
        }
        let (token, length) = match first {
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '(' => (Token::Left, 1),
            ')' => (Token::Right, 1),
            '"' => quoted(rest).ok_or((*line, "a string does not end".to_owned()))?,
            '`' => {
                let end = rest[1..].find('`').ok_or((*line, "a string does not end".to_owned()))?;
                *line += lines(&rest[1..=end]);
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '$' => {
                let name = word(&rest[1..]);
                (Token::Variable(name.to_owned()), name.len() + 1)
            }
            '.' => match word(&rest[1..]) {
                "" => (Token::Dot, 1),
                name => (Token::Field(name.to_owned(), spaced), name.len() + 1),
            },
            '0'..='9' | '-' | '+' => number(rest).ok_or((*line, "a number is expected".to_owned()))?,
            _ => match word(rest) {
                "" => return Err((*line, format!("{first:?} is not expected"))),
                name => (Token::Word(name.to_owned()), name.len()),
            },
        };
        tokens.push((*line, token));
        at += length;
        spaced = matches!(first, '(' | '|' | ',' | '=' | ':');
    }
    Err((*line, "an action does not close".to_owned()))
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn number(text: &str) -> Option<(Token, usize)> {
    let end = text[1..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(text.len(), |end| end + 1);
    let number = &text[..end];
    let whole = number.parse().map(Token::Int).ok();
    whole.or_else(|| number.parse().map(Token::Float).ok()).map(|token| (token, end))
}

fn quoted(text: &str) -> Option<(Token, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Token::Text(value), at + 1)),
            '\n' => return None,
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            char => value.push(char),
        }
    }
    None
}
