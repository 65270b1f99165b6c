//! `--set a.b=1,c[0]=x`: the language that Helm has for values on a command line.
//!
//! Commas separate, dots go deeper, `[n]` is a place in a list, `{a,b}` is a list, and a backslash takes a character as
//! it is. With `--set` a number is a number, `true` and `false` are booleans and `null` takes the default away.

use serde_json::{Map, Value};

/// A list may be filled up to here, so that a mistyped index costs no memory.
const MAX_INDEX: usize = 1024;
/// So deep may a path go.
const MAX_DEPTH: usize = 30;

/// What becomes of the text after `=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// Numbers, booleans and null are what they look like: `--set`.
    Typed,
    /// Text stays text: `--set-string`.
    Text,
    /// The name of a file, whose text is the value: `--set-file`.
    File,
}

/// What is wrong with an assignment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0:?} has no value: write {0}=…")]
    NoValue(String),
    #[error("a value has no name before the `=`")]
    NoName,
    #[error("{0:?} is no index of a list; 0 to {MAX_INDEX} are")]
    Index(String),
    #[error("a list that begins with `{{` does not end with `}}`")]
    OpenList,
    #[error("after the list of {0:?} there has to be a comma")]
    AfterList(String),
    #[error("{0} leads into a value that is no {1}")]
    NotThere(String, &'static str),
    #[error("the name goes deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("{name:?} cannot be read")]
    File {
        name: String,
        #[source]
        source: std::io::Error,
    },
}

/// A step to a value.
#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Adds the assignments in `text` to `values`; `read` reads the file of an [`As::File`].
///
/// # Errors
/// What is wrong with the text, or with the file.
pub(super) fn assign(
    values: &mut Map<String, Value>,
    text: &str,
    kind: As,
    read: impl Fn(&str) -> std::io::Result<String>,
) -> Result<(), Error> {
    let mut rest: &str = text;
    while !rest.is_empty() {
        let (steps, after) = path(rest)?;
        let (value, after) = value(&steps, after, kind)?;
        let value = match (kind, value) {
            (As::File, Value::String(name)) => {
                Value::String(read(&name).map_err(|source| Error::File { name, source })?)
            }
            (_, value) => value,
        };
        let mut root = Value::Object(std::mem::take(values));
        let done = put(&mut root, &steps, value);
        if let Value::Object(root) = root {
            *values = root;
        }
        done.map_err(|wanted| Error::NotThere(shown(&steps), wanted))?;
        rest = after;
    }
    Ok(())
}

/// The text up to one of `ends`, without backslashes, and what is left, which begins with that end.
fn until<'a>(text: &'a str, ends: &[char]) -> (String, &'a str) {
    let mut taken = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => taken.extend(chars.next().map(|(_, char)| char)),
            char if ends.contains(&char) => return (taken, &text[at..]),
            char => taken.push(char),
        }
    }
    (taken, "")
}

/// The path before `=`, and what is left after the `=`.
fn path(text: &str) -> Result<(Vec<Step>, &str), Error> {
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        if steps.len() >= MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        if let Some(index) = rest.strip_prefix('[').filter(|_| !steps.is_empty()) {
            let (number, after) = index.split_once(']').ok_or_else(|| Error::Index(index.to_owned()))?;
            let place = number.trim().parse().ok().filter(|place| *place <= MAX_INDEX);
            steps.push(Step::Index(place.ok_or_else(|| Error::Index(number.to_owned()))?));
            rest = after;
        } else {
            let (key, after) = until(rest, &['.', '=', '[', ',']);
            if key.is_empty() {
                return Err(Error::NoName);
            }
            steps.push(Step::Key(key));
            rest = after;
        }
        match rest.chars().next() {
            Some('=') => return Ok((steps, &rest[1..])),
            Some('.') => rest = &rest[1..],
            Some('[') => {}
            _ => return Err(Error::NoValue(shown(&steps))),
        }
    }
}

fn shown(steps: &[Step]) -> String {
    let mut shown = String::new();
    for step in steps {
        match step {
            Step::Key(key) if shown.is_empty() => shown.push_str(key),
            Step::Key(key) => shown.push_str(&format!(".{key}")),
            Step::Index(index) => shown.push_str(&format!("[{index}]")),
        }
    }
    shown
}

/// The value after `=`, and what is left after the comma.
fn value<'a>(steps: &[Step], text: &'a str, kind: As) -> Result<(Value, &'a str), Error> {
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut items = Vec::new();
        loop {
            let (item, after) = until(rest, &[',', '}']);
            // So `{}` is a list of one empty text, as in Helm.
            items.push(typed(item, kind));
            match after.chars().next() {
                Some(',') => rest = &after[1..],
                Some(_) => match &after[1..] {
                    "" => return Ok((Value::Array(items), "")),
                    after => {
                        let after = after.strip_prefix(',').ok_or_else(|| Error::AfterList(shown(steps)))?;
                        return Ok((Value::Array(items), after));
                    }
                },
                None => return Err(Error::OpenList),
            }
        }
    }
    let (value, after) = until(text, &[',']);
    Ok((typed(value, kind), after.strip_prefix(',').unwrap_or(after)))
}

fn typed(text: String, kind: As) -> Value {
    if kind != As::Typed {
        return Value::String(text);
    }
    match text.to_ascii_lowercase().as_str() {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "0" => Value::from(0),
        // 0755 is no number of anything.
        number if !number.starts_with('0') => match number.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => Value::String(text),
        },
        _ => Value::String(text),
    }
}

/// Puts a value where the steps lead, and makes way for it where nothing is.
///
/// # Errors
/// What had to be on the way where something else is.
fn put(at: &mut Value, steps: &[Step], value: Value) -> Result<(), &'static str> {
    let Some((step, rest)) = steps.split_first() else {
        *at = value;
        return Ok(());
    };
    match step {
        Step::Key(key) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let map = at.as_object_mut().ok_or("map")?;
            put(map.entry(key.clone()).or_insert(Value::Null), rest, value)
        }
        Step::Index(index) => {
            if at.is_null() {
                *at = Value::Array(Vec::new());
            }
            let list = at.as_array_mut().ok_or("list")?;
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            put(&mut list[*index], rest, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(texts: &[&str], kind: As) -> Result<Value, Error> {
        let mut values = Map::new();
        for text in texts {
            assign(&mut values, text, kind, |name| match name {
                "there" => Ok("a,b\n".to_owned()),
                _ => Err(std::io::ErrorKind::NotFound.into()),
            })?;
        }
        Ok(Value::Object(values))
    }

    #[test]
    fn text_becomes_what_it_looks_like() {
        let typed = "a=1,b=true,c=null,d=,e=0755,f=1.5,g=-3,h=0,i=nullx,j=a=b";
        assert_eq!(
            set(&[typed], As::Typed).unwrap(),
            json!({"a": 1, "b": true, "c": null, "d": "", "e": "0755", "f": "1.5", "g": -3, "h": 0,
                   "i": "nullx", "j": "a=b"})
        );
        assert_eq!(
            set(&["a=1,b=true,c=null"], As::Text).unwrap(),
            json!({"a": "1", "b": "true", "c": "null"})
        );
        assert_eq!(set(&["a.b=there"], As::File).unwrap(), json!({"a": {"b": "a,b\n"}}));
    }

    #[test]
    fn names_go_into_maps_and_lists() {
        let texts = ["a.b=1,a.c=2", "l[1].n=x,l[0].n=y", "l[1].m=z", "m[0][1]=q", "s={a,2},t={}"];
        assert_eq!(
            set(&texts, As::Typed).unwrap(),
            json!({"a": {"b": 1, "c": 2}, "l": [{"n": "y"}, {"n": "x", "m": "z"}], "m": [[null, "q"]],
                   "s": ["a", 2], "t": [""]})
        );
        let spelled = set(&["a=TRUE,b=False,c=Null,d=+5,e=00,f={null,1},g=x.y[0]"], As::Typed);
        assert_eq!(
            spelled.unwrap(),
            json!({"a": true, "b": false, "c": null, "d": 5, "e": "00", "f": [null, 1], "g": "x.y[0]"})
        );
    }

    #[test]
    fn a_backslash_takes_a_character_as_it_is() {
        let text = r"n.kubernetes\.io/os=linux,v=a\,b\=c\\d,w={x\,y,\}}";
        assert_eq!(
            set(&[text], As::Typed).unwrap(),
            json!({"n": {"kubernetes.io/os": "linux"}, "v": "a,b=c\\d", "w": ["x,y", "}"]})
        );
    }

    #[test]
    fn a_mistake_is_named() {
        let say = |text: &str| set(&[text], As::Typed).unwrap_err().to_string();
        assert_eq!(say("a.b"), "\"a.b\" has no value: write a.b=…");
        assert_eq!(say("a,b=1"), "\"a\" has no value: write a=…");
        assert_eq!(say("=1"), "a value has no name before the `=`");
        assert_eq!(say("a[x]=1"), "\"x\" is no index of a list; 0 to 1024 are");
        assert_eq!(say("a[99999]=1"), "\"99999\" is no index of a list; 0 to 1024 are");
        assert_eq!(say("a={1,2"), "a list that begins with `{` does not end with `}`");
        assert_eq!(say("a={1}b=2"), "after the list of \"a\" there has to be a comma");
        assert_eq!(say(&format!("{}=1", ["a"; 40].join("."))), "the name goes deeper than 30 levels");
        assert_eq!(say("a=1,a.b=2"), "a.b leads into a value that is no map");
        assert_eq!(say("a=1,a[0]=2"), "a[0] leads into a value that is no list");
        let missing = set(&["a=nowhere"], As::File).unwrap_err().to_string();
        assert_eq!(missing, "\"nowhere\" cannot be read");
    }
}
