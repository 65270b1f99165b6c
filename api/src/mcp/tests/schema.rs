//! Whether an answer is what its schema says: no more keywords than our schemas use, and stricter than the standard, for
//! a field that the schema does not have is wrong here.

use serde_json::{Map, Value};

/// Everything that is wrong, as `path: what`.
pub(super) fn problems(value: &Value, schema: &Map<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    check("$", value, schema, &mut wrong);
    wrong
}

/// Keywords that say nothing about values.
const COMMENTS: [&str; 4] = ["description", "title", "default", "examples"];

fn check(path: &str, value: &Value, schema: &Map<String, Value>, wrong: &mut Vec<String>) {
    for (keyword, rule) in schema {
        match (keyword.as_str(), rule) {
            ("type", Value::String(kind)) => {
                if !is(kind, value) {
                    wrong.push(format!("{path}: {value} is no {kind}"));
                }
            }
            ("enum", Value::Array(choices)) => {
                if !choices.contains(value) {
                    wrong.push(format!("{path}: {value} is none of {choices:?}"));
                }
            }
            ("minimum", Value::Number(least)) => {
                if value.as_f64().is_none_or(|it| it < least.as_f64().unwrap()) {
                    wrong.push(format!("{path}: {value} is below {least}"));
                }
            }
            ("maximum", Value::Number(most)) => {
                if value.as_f64().is_none_or(|it| it > most.as_f64().unwrap()) {
                    wrong.push(format!("{path}: {value} is above {most}"));
                }
            }
            ("required", Value::Array(names)) => {
                for name in names.iter().filter_map(Value::as_str) {
                    if value.get(name).is_none() {
                        wrong.push(format!("{path}: {name} is missing"));
                    }
                }
            }
            ("properties", Value::Object(_)) | ("additionalProperties", _) => {}
            ("items", Value::Object(of)) => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(&format!("{path}[{at}]"), item, of, wrong);
                }
            }
            (comment, _) if COMMENTS.contains(&comment) => {}
            (other, rule) => panic!("{path}: this test does not know the keyword {other}: {rule}"),
        }
    }
    let Some(object) = value.as_object() else { return };
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    for (name, field) in object {
        let path = format!("{path}.{name}");
        match (properties.get(name), schema.get("additionalProperties")) {
            (Some(Value::Object(of)), _) | (None, Some(Value::Object(of))) => check(&path, field, of, wrong),
            _ => wrong.push(format!("{path} is not in the schema")),
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("no such type: {other}"),
    }
}

#[test]
fn a_wrong_answer_is_seen_as_wrong() {
    let schema = serde_json::json!({
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"type": "integer", "minimum": 0},
            "b": {"type": "array", "items": {"type": "string", "enum": ["x"]}},
            "c": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    });
    let schema = schema.as_object().unwrap();
    let of = |value: Value| problems(&value, schema);
    assert_eq!(of(serde_json::json!({"a": 1, "b": ["x"], "c": {"d": 1.5}})), Vec::<String>::new());
    assert_eq!(of(serde_json::json!({})), ["$: a is missing"]);
    assert_eq!(of(serde_json::json!({"a": -1, "z": 1})), ["$.a: -1 is below 0", "$.z is not in the schema"]);
    assert_eq!(of(serde_json::json!({"a": 1, "b": ["y"], "c": {"d": ""}})).len(), 2);
}
