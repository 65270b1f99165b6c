//! Tokens to a tree.

use super::lex::{Placed, Token};
use std::collections::BTreeMap;

/// A step of a template.
#[derive(Debug)]
pub(super) enum Node {
    Literal(String),
    /// Prints what the pipeline yields, unless it sets a variable.
    Print(Pipeline),
    If {
        branches: Vec<(Pipeline, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    With {
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// `template "name" pipeline`.
    Template {
        name: String,
        pipeline: Option<Pipeline>,
        line: usize,
    },
}

/// Commands, each of which gets what the one before yields as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) line: usize,
    /// The variables that get the value; two of them only with `range`.
    pub(super) variables: Vec<String>,
    /// True for `:=`, false for `=`.
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// An argument, or the function before the arguments.
#[derive(Debug)]
pub(super) enum Operand {
    Function(String),
    Dot,
    Variable(String),
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Parenthesis(Pipeline),
    /// Fields of something.
    Chain(Box<Operand>, Vec<String>),
}

/// A parsed file.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) body: Vec<Node>,
    pub(super) named: BTreeMap<String, Vec<Node>>,
}

/// What ends a list of nodes.
#[derive(Debug)]
enum Stop {
    Text,
    End,
    Else,
    /// `else if`, with its condition.
    ElseIf(Pipeline),
}

type Fault = (usize, String);

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    line: usize,
    named: BTreeMap<String, Vec<Node>>,
}

/// Makes a tree.
///
/// # Errors
/// The line, and what is wrong there.
pub(super) fn parse(tokens: Vec<Placed>) -> Result<Parsed, Fault> {
    let mut parser = Parser { tokens, at: 0, line: 1, named: BTreeMap::new() };
    let (body, end) = parser.nodes()?;
    match end {
        Stop::Text => Ok(Parsed { body, named: parser.named }),
        _ => Err(parser.fault("`end` or `else` without a beginning")),
    }
}

// === impl Parser ===

impl Parser {
    fn fault(&self, problem: &str) -> Fault {
        (self.line, problem.to_owned())
    }

    fn next(&mut self) -> Option<Token> {
        let (line, token) = self.tokens.get(self.at)?.clone();
        self.at += 1;
        self.line = line;
        Some(token)
    }

    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(_, token)| token)
    }

    fn next_is(&self, token: &Token) -> bool {
        self.peek(0) == Some(token)
    }

    fn expect(&mut self, token: &Token) -> Result<(), Fault> {
        match self.next() {
            Some(next) if next == *token => Ok(()),
            next => Err((self.line, format!("{token:?} is expected, not {next:?}"))),
        }
    }

    /// The word that begins an action, when it is a keyword.
    fn keyword(&mut self) -> Option<String> {
        let known =
            ["if", "else", "end", "with", "range", "define", "template", "block", "break", "continue"];
        match self.peek(0) {
            Some(Token::Word(word)) if known.contains(&word.as_str()) => {
                let word = word.clone();
                self.next();
                Some(word)
            }
            _ => None,
        }
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Fault> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                None => return Ok((nodes, Stop::Text)),
                Some(Token::Literal(text)) => nodes.push(Node::Literal(text)),
                Some(_) => match self.keyword().as_deref() {
                    None => {
                        let pipeline = self.pipeline()?;
                        self.expect(&Token::Close)?;
                        nodes.push(Node::Print(pipeline));
                    }
                    Some("end") => {
                        self.expect(&Token::Close)?;
                        return Ok((nodes, Stop::End));
                    }
                    Some("else") => match self.keyword().as_deref() {
                        None => {
                            self.expect(&Token::Close)?;
                            return Ok((nodes, Stop::Else));
                        }
                        Some("if") => {
                            let condition = self.pipeline()?;
                            self.expect(&Token::Close)?;
                            return Ok((nodes, Stop::ElseIf(condition)));
                        }
                        Some(_) => return Err(self.fault("after `else` only `if` may follow")),
                    },
                    Some("if") => {
                        let node = self.conditional()?;
                        nodes.push(node);
                    }
                    Some("with") => {
                        let (pipeline, body, otherwise) = self.block()?;
                        nodes.push(Node::With { pipeline, body, otherwise });
                    }
                    Some("range") => {
                        let (pipeline, body, otherwise) = self.block()?;
                        nodes.push(Node::Range { pipeline, body, otherwise });
                    }
                    Some("define") => {
                        let name = self.name()?;
                        self.expect(&Token::Close)?;
                        let (body, end) = self.nodes()?;
                        if !matches!(end, Stop::End) {
                            return Err(self.fault("`define` does not end"));
                        }
                        self.named.insert(name, body);
                    }
                    Some("template") => {
                        let (name, line) = (self.name()?, self.line);
                        let pipeline =
                            if self.next_is(&Token::Close) { None } else { Some(self.pipeline()?) };
                        self.expect(&Token::Close)?;
                        nodes.push(Node::Template { name, pipeline, line });
                    }
                    Some(other) => return Err((self.line, format!("`{other}` is not supported"))),
                },
            }
        }
    }

    fn name(&mut self) -> Result<String, Fault> {
        match self.next() {
            Some(Token::Text(name)) => Ok(name),
            _ => Err(self.fault("the name of a template is expected")),
        }
    }

    fn conditional(&mut self) -> Result<Node, Fault> {
        let mut condition = self.pipeline()?;
        self.expect(&Token::Close)?;
        let mut branches = Vec::new();
        loop {
            let (body, end) = self.nodes()?;
            branches.push((condition, body));
            match end {
                Stop::ElseIf(next) => condition = next,
                Stop::End => return Ok(Node::If { branches, otherwise: Vec::new() }),
                Stop::Else => return Ok(Node::If { branches, otherwise: self.otherwise()? }),
                Stop::Text => return Err(self.fault("`if` does not end")),
            }
        }
    }

    fn block(&mut self) -> Result<(Pipeline, Vec<Node>, Vec<Node>), Fault> {
        let pipeline = self.pipeline()?;
        self.expect(&Token::Close)?;
        let (body, end) = self.nodes()?;
        match end {
            Stop::End => Ok((pipeline, body, Vec::new())),
            Stop::Else => Ok((pipeline, body, self.otherwise()?)),
            _ => Err(self.fault("`with` or `range` does not end")),
        }
    }

    fn otherwise(&mut self) -> Result<Vec<Node>, Fault> {
        match self.nodes()? {
            (nodes, Stop::End) => Ok(nodes),
            _ => Err(self.fault("`else` does not end")),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, Fault> {
        // `$x := …`, `$i, $x := …` and `$x = …`; a variable that nothing of these follows is an operand.
        let mut variables = Vec::new();
        let mut ahead = 0;
        while let Some(Token::Variable(name)) = self.peek(ahead) {
            variables.push(name.clone());
            match self.peek(ahead + 1) {
                Some(Token::Comma) => ahead += 2,
                Some(token @ (Token::Declare | Token::Assign)) => {
                    let declares = *token == Token::Declare;
                    self.at += ahead + 2;
                    return self.commands(variables, declares);
                }
                _ => break,
            }
        }
        self.commands(Vec::new(), false)
    }

    fn commands(&mut self, variables: Vec<String>, declares: bool) -> Result<Pipeline, Fault> {
        let mut commands = Vec::new();
        loop {
            let mut command = Vec::new();
            while let Some(operand) = self.operand()? {
                command.push(operand);
            }
            if command.is_empty() {
                return Err(self.fault("a value is expected"));
            }
            commands.push(command);
            if !self.next_is(&Token::Pipe) {
                return Ok(Pipeline { line: self.line, variables, declares, commands });
            }
            self.next();
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, Fault> {
        let ends = |token: &Token| matches!(token, Token::Close | Token::Pipe | Token::Right | Token::Comma);
        if self.peek(0).is_none_or(ends) {
            return Ok(None);
        }
        let operand = match self.next() {
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                _ => Operand::Function(word),
            },
            Some(Token::Dot) => Operand::Dot,
            Some(Token::Field(name, _)) => Operand::Chain(Box::new(Operand::Dot), vec![name]),
            Some(Token::Variable(name)) => Operand::Variable(name),
            Some(Token::Text(text)) => Operand::Text(text),
            Some(Token::Int(value)) => Operand::Int(value),
            Some(Token::Float(value)) => Operand::Float(value),
            Some(Token::Left) => {
                let pipeline = self.pipeline()?;
                self.expect(&Token::Right)?;
                Operand::Parenthesis(pipeline)
            }
            other => return Err((self.line, format!("{other:?} is not expected"))),
        };
        let mut fields = Vec::new();
        while let Some(Token::Field(name, false)) = self.peek(0) {
            fields.push(name.clone());
            self.next();
        }
        Ok(Some(match (operand, fields.is_empty()) {
            (operand, true) => operand,
            (Operand::Chain(of, mut first), false) => {
                first.extend(fields);
                Operand::Chain(of, first)
            }
            (operand, false) => Operand::Chain(Box::new(operand), fields),
        }))
    }
}
