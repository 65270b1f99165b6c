//! The values against values.schema.json, as far as that schema goes, in the words that Helm has for it.

use regex::Regex;
use serde_json::Value;

/// So many violations are named.
const NAMED: usize = 20;

/// What is wrong with the values: one sentence each, with the path of the value.
pub(super) fn violations(schema: &Value, values: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, values, "", &mut found);
    found.truncate(NAMED);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else { return };
    let mut fail = |problem: String| found.push(format!("at '{path}': {problem}"));
    if let Some(allowed) = rules.get("type") {
        let allowed: Vec<&str> = match allowed {
            Value::Array(allowed) => allowed.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let whole = value.as_i64().is_some() || value.as_u64().is_some();
        if !allowed.iter().any(|name| *name == kind(value) || (*name == "integer" && whole)) {
            // The rest would say the same in other words.
            return fail(format!("got {}, want {}", kind(value), allowed.join(" or ")));
        }
    }
    if let Some(Value::Array(options)) = rules.get("enum")
        && !options.contains(value)
    {
        let options: Vec<String> = options.iter().map(shown).collect();
        fail(format!("value must be one of {}", options.join(", ")));
    }
    if let (Some(text), Some(pattern)) = (value.as_str(), rules.get("pattern").and_then(Value::as_str)) {
        // A pattern that is none matches nothing: a test tries them all.
        if !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)) {
            fail(format!("'{text}' does not match pattern '{pattern}'"));
        }
    }
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    let limit = |name: &str| rules.get(name).and_then(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "no text and no list is that long")]
    let size = size as f64;
    let (least, most) = match value {
        Value::Number(_) => ("minimum", "maximum"),
        Value::String(_) => ("minLength", "maxLength"),
        Value::Array(_) => ("minItems", "maxItems"),
        _ => ("", ""),
    };
    let measured = value.as_f64().unwrap_or(size);
    if let Some(least_allowed) = limit(least).filter(|allowed| measured < *allowed) {
        fail(format!("{least}: got {measured}, want {least_allowed}"));
    }
    if let Some(most_allowed) = limit(most).filter(|allowed| measured > *allowed) {
        fail(format!("{most}: got {measured}, want {most_allowed}"));
    }
    match value {
        Value::Object(map) => {
            for name in rules.get("required").and_then(Value::as_array).into_iter().flatten() {
                if let Some(name) = name.as_str().filter(|name| !map.contains_key(*name)) {
                    fail(format!("missing property '{name}'"));
                }
            }
            let known = rules.get("properties").and_then(Value::as_object);
            let unknown: Vec<&String> =
                map.keys().filter(|key| known.is_none_or(|known| !known.contains_key(*key))).collect();
            let others = rules.get("additionalProperties");
            if others == Some(&Value::Bool(false)) && !unknown.is_empty() {
                let names: Vec<String> = unknown.iter().map(|name| format!("'{name}'")).collect();
                fail(format!("additional properties {} not allowed", names.join(", ")));
            }
            for (key, value) in map {
                let rule = known.and_then(|known| known.get(key)).or(others);
                if let Some(rule) = rule {
                    check(root, rule, value, &format!("{path}/{key}"), found);
                }
            }
        }
        Value::Array(items) => {
            if let Some(rule) = rules.get("items") {
                for (index, item) in items.iter().enumerate() {
                    check(root, rule, item, &format!("{path}/{index}"), found);
                }
            }
        }
        _ => {}
    }
    if let Some(name) = rules.get("$ref").and_then(Value::as_str)
        && let Some(rule) = root.pointer(name.trim_start_matches('#'))
    {
        check(root, rule, value, path, found);
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    /// Walks a schema: its keywords, its patterns, and the names it refers to.
    fn walk(schema: &Value, keywords: &mut BTreeSet<String>, see: &mut impl FnMut(&str, &Value)) {
        for (key, value) in schema.as_object().into_iter().flatten() {
            keywords.insert(key.clone());
            see(key, value);
            match key.as_str() {
                "properties" | "definitions" => {
                    value.as_object().unwrap().values().for_each(|inner| walk(inner, keywords, see));
                }
                "items" | "additionalProperties" => walk(value, keywords, see),
                _ => {}
            }
        }
    }

    #[test]
    fn the_schema_of_the_chart_says_nothing_that_is_not_understood_here() {
        let schema: Value = serde_json::from_str(super::super::chart::SCHEMA).unwrap();
        let mut keywords = BTreeSet::new();
        walk(&schema, &mut keywords, &mut |key, value| match key {
            "pattern" => assert!(Regex::new(value.as_str().unwrap()).is_ok(), "{value}"),
            "$ref" => {
                let place = value.as_str().unwrap().strip_prefix('#').unwrap();
                assert!(schema.pointer(place).is_some(), "{value}");
            }
            _ => {}
        });
        let understood = [
            "$ref",
            "$schema",
            "additionalProperties",
            "definitions",
            "enum",
            "items",
            "maxItems",
            "maxLength",
            "maximum",
            "minItems",
            "minLength",
            "minimum",
            "pattern",
            "properties",
            "required",
            "title",
            "type",
        ];
        let odd: Vec<&String> = keywords.iter().filter(|key| !understood.contains(&key.as_str())).collect();
        assert!(odd.is_empty(), "{odd:?}");
        assert!(keywords.len() > 10);
    }

    #[test]
    fn each_rule_is_said_in_a_sentence_with_the_path() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["must"],
            "properties": {
                "must": {"type": "boolean"}, "number": {"type": "integer", "minimum": 1, "maximum": 9},
                "word": {"$ref": "#/definitions/word"}, "one": {"enum": ["a", "b"]},
                "list": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                "map": {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
            },
            "definitions": {"word": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3}}
        });
        let good =
            json!({"must": true, "number": 3, "word": "abc", "one": "a", "list": ["x"], "map": {"k": 1}});
        assert_eq!(violations(&schema, &good), Vec::<String>::new());
        let bad = json!({"number": 10, "word": "Abcd", "one": "c", "list": [], "map": {"k": null}, "x": 1});
        assert_eq!(
            violations(&schema, &bad),
            [
                "at '': missing property 'must'",
                "at '': additional properties 'x' not allowed",
                "at '/list': minItems: got 0, want 1",
                "at '/map/k': got null, want string or number",
                "at '/number': maximum: got 10, want 9",
                "at '/one': value must be one of 'a', 'b'",
                "at '/word': 'Abcd' does not match pattern '^[a-z]+$'",
                "at '/word': maxLength: got 4, want 3",
            ]
        );
        assert_eq!(
            violations(&schema, &json!({"must": true, "number": 1.5})),
            ["at '/number': got number, want integer"]
        );
    }
}
