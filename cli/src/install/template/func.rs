//! The functions of Go's templates and of Helm that charts of ours use. A new one is an arm here.

use super::{Value, value::Map};
use std::rc::Rc;

/// Calls a function. `include`, `fail`, `and` and `or` are with the evaluation.
///
/// # Errors
/// What is wrong with the arguments.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    Ok(match (name, arguments) {
        ("not", [value]) => Value::Bool(!value.is_true()),
        ("eq", [first, others @ ..]) if !others.is_empty() => Value::Bool(
            others.iter().try_fold(false, |any, other| Ok::<_, String>(any | equal(first, other)?))?,
        ),
        ("ne", [a, b]) => Value::Bool(!equal(a, b)?),
        ("gt", [a, b]) => Value::Bool(int(a)? > int(b)?),
        ("ge", [a, b]) => Value::Bool(int(a)? >= int(b)?),
        ("lt", [a, b]) => Value::Bool(int(a)? < int(b)?),
        ("le", [a, b]) => Value::Bool(int(a)? <= int(b)?),
        ("default", [otherwise, value]) => if value.is_true() { value } else { otherwise }.clone(),
        ("dict", entries) => dict(entries)?,
        ("list", values) => Value::List(Rc::new(values.to_vec())),
        ("set", [Value::Map(map), Value::Text(key), value]) => {
            map.borrow_mut().insert(key.clone(), value.clone());
            Value::Map(map.clone())
        }
        ("merge", [Value::Map(into), others @ ..]) => {
            for other in others {
                match other {
                    Value::Map(other) => merge(into, other),
                    // A map that was taken away by null.
                    Value::Nil => {}
                    other => return Err(format!("{} cannot be merged into a map", other.kind())),
                }
            }
            Value::Map(into.clone())
        }
        ("toYaml", [value]) => {
            let mut out = String::new();
            write_yaml(&mut out, value, 0, true);
            Value::Text(out.trim_end_matches('\n').to_owned())
        }
        ("indent", [width, Value::Text(text)]) => Value::Text(indent(width, text)?),
        ("nindent", [width, Value::Text(text)]) => Value::Text(format!("\n{}", indent(width, text)?)),
        ("trim", [Value::Text(text)]) => Value::Text(text.trim().to_owned()),
        ("quote", values) => {
            let set = values.iter().filter(|value| !matches!(value, Value::Nil));
            Value::Text(set.map(|value| quoted(&value.to_string())).collect::<Vec<_>>().join(" "))
        }
        ("join", [separator, Value::List(values)]) => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            Value::Text(values.join(&separator.to_string()))
        }
        ("int", [value]) => Value::Int(int(value)?),
        ("printf", [Value::Text(format), values @ ..]) => Value::Text(printf(format, values)?),
        ("sha256sum", [Value::Text(text)]) => {
            let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            Value::Text(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
        }
        (_, arguments) => {
            let kinds: Vec<&str> = arguments.iter().map(Value::kind).collect();
            return Err(format!("there is no such function of ({})", kinds.join(", ")));
        }
    })
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil, Value::Nil) => Ok(true),
        (Value::Nil, _) | (_, Value::Nil) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        (a, b) => Err(format!("{} and {} cannot be compared", a.kind(), b.kind())),
    }
}

fn int(value: &Value) -> Result<i64, String> {
    match value {
        Value::Nil => Ok(0),
        Value::Int(value) => Ok(*value),
        #[expect(clippy::cast_possible_truncation, reason = "as Go converts it")]
        Value::Float(value) => Ok(*value as i64),
        Value::Bool(value) => Ok(i64::from(*value)),
        // Helm makes 0 of text that is no number; so is a mistake not seen.
        Value::Text(text) => text.parse().map_err(|_| format!("{text:?} is no whole number")),
        other => Err(format!("{} is no whole number", other.kind())),
    }
}

fn dict(entries: &[Value]) -> Result<Value, String> {
    let mut map = Vec::new();
    for entry in entries.chunks(2) {
        match entry {
            [key, value] => map.push((key.to_string(), value.clone())),
            _ => return Err("a key has no value".to_owned()),
        }
    }
    Ok(Value::map(map))
}

/// What is in `from` and not set in `into`.
fn merge(into: &Map, from: &Map) {
    if Rc::ptr_eq(into, from) {
        return;
    }
    for (key, value) in from.borrow().iter() {
        let known = into.borrow().get(key).cloned();
        match (known, value) {
            (Some(Value::Map(inner)), Value::Map(value)) => merge(&inner, value),
            (Some(known), _) if known.is_true() => {}
            _ => {
                into.borrow_mut().insert(key.clone(), value.clone());
            }
        }
    }
}

fn indent(width: &Value, text: &str) -> Result<String, String> {
    let width = usize::try_from(int(width)?).ok().filter(|width| *width <= 200);
    let pad = " ".repeat(width.ok_or("the width is 0 to 200")?);
    Ok(format!("{pad}{}", text.replace('\n', &format!("\n{pad}"))))
}

fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let verb = chars.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or("there are fewer values than verbs")?;
        match (verb, value) {
            (Some('s'), Value::Text(_)) | (Some('d'), Value::Int(_)) | (Some('v'), _) => {
                out.push_str(&value.to_string());
            }
            (Some('q'), Value::Text(text)) => out.push_str(&quoted(text)),
            (verb, value) => {
                let verb = verb.map(String::from).unwrap_or_default();
                return Err(format!("%{verb} does not print {}", value.kind()));
            }
        }
    }
    match values.next() {
        Some(_) => Err("there are more values than verbs".to_owned()),
        None => Ok(out),
    }
}

/// In double quotes, as both Go and YAML read it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            char if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// As a block of YAML. `fresh`: the line has nothing but its indentation yet.
fn write_yaml(out: &mut String, value: &Value, depth: usize, fresh: bool) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Map(map) if !map.borrow().is_empty() => {
            for (index, (key, value)) in map.borrow().iter().enumerate() {
                if index > 0 || !fresh {
                    out.push_str(&pad);
                }
                out.push_str(&scalar(key));
                out.push(':');
                match value {
                    Value::Map(inner) if !inner.borrow().is_empty() => {
                        out.push('\n');
                        write_yaml(out, value, depth + 1, false);
                    }
                    Value::List(inner) if !inner.is_empty() => {
                        out.push('\n');
                        write_yaml(out, value, depth, false);
                    }
                    value => {
                        out.push(' ');
                        write_yaml(out, value, depth, true);
                    }
                }
            }
        }
        Value::List(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                if index > 0 || !fresh {
                    out.push_str(&pad);
                }
                out.push_str("- ");
                write_yaml(out, value, depth + 1, true);
            }
        }
        Value::Map(_) => out.push_str("{}\n"),
        Value::List(_) => out.push_str("[]\n"),
        Value::Nil => out.push_str("null\n"),
        Value::Text(text) => {
            out.push_str(&scalar(text));
            out.push('\n');
        }
        value => {
            out.push_str(&value.to_string());
            out.push('\n');
        }
    }
}

/// Text as a plain scalar when no version of YAML takes that for something else, and in quotes otherwise.
fn scalar(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let word = !matches!(
        text.to_ascii_lowercase().as_str(),
        "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null" | "nan" | "inf"
    );
    if begins && plain && word { text.to_owned() } else { quoted(text) }
}
