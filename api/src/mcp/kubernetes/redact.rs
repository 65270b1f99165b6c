//! An object without what nobody should read in a chat: values of environment variables, arguments that look like
//! secrets, what was last applied; and without what takes room and says nothing.

use crate::mcp::text::data;
use serde_json::{Map, Value};

/// What stands in place of a value.
const HIDDEN: &str = "(hidden)";

/// Longer lists are cut.
const MAX_ITEMS: usize = 30;

/// Names that say that the value is not for everybody.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "credential",
    "private",
    "authorization",
];

/// The object as it may be shown.
pub(crate) fn redacted(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in ["managedFields", "uid", "resourceVersion", "generation", "selfLink"] {
            metadata.remove(name);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !name.starts_with("kubectl.kubernetes.io/last-applied"));
        }
    }
    // ConfigMaps and the like: names of the entries, not the entries.
    for name in ["data", "binaryData", "stringData"] {
        if let Some(entries) = object.get_mut(name).and_then(Value::as_object_mut) {
            entries.values_mut().for_each(hide);
        }
    }
    walk("", object)
}

fn walk(name: &str, value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut kept = Map::new();
            for (key, value) in map {
                let value = match key.as_str() {
                    "env" => environment(value),
                    "args" | "command" => arguments(value),
                    // A probe or hook may carry an Authorization header.
                    "httpHeaders" => Value::String(HIDDEN.to_owned()),
                    _ if value.is_string() && secret(&key) && name != "labels" => {
                        Value::String(HIDDEN.to_owned())
                    }
                    _ => walk(&key, value),
                };
                if !(value.is_null() || value.as_object().is_some_and(Map::is_empty)) {
                    kept.insert(data(&key), value);
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => {
            let more = items.len().saturating_sub(MAX_ITEMS);
            let mut kept: Vec<Value> =
                items.into_iter().take(MAX_ITEMS).map(|item| walk(name, item)).collect();
            if more > 0 {
                kept.push(Value::String(format!("({more} more)")));
            }
            Value::Array(kept)
        }
        Value::String(text) => Value::String(data(&text)),
        other => other,
    }
}

/// Names of variables, without values: where one comes from a Secret, its name is not said either.
fn environment(value: Value) -> Value {
    let names = value.as_array().into_iter().flatten().filter_map(|it| it.get("name")?.as_str().map(data));
    Value::Array(names.take(MAX_ITEMS * 3).map(Value::String).collect())
}

/// Arguments, of which those that look like secrets are cut after the name.
fn arguments(value: Value) -> Value {
    let mut hide_next = false;
    let shown = value.as_array().into_iter().flatten().filter_map(Value::as_str).map(|text| {
        if std::mem::take(&mut hide_next) {
            return HIDDEN.to_owned();
        }
        match text.split_once('=') {
            Some((name, _)) if secret(name) => format!("{}={HIDDEN}", data(name)),
            // A shell script may hold anything.
            _ if text.len() > 200 || text.contains('\n') => HIDDEN.to_owned(),
            None if text.starts_with('-') && secret(text) => {
                hide_next = true;
                data(text)
            }
            _ if text.contains("://") && text.contains('@') => HIDDEN.to_owned(),
            _ => data(text),
        }
    });
    Value::Array(shown.take(MAX_ITEMS).map(Value::String).collect())
}

fn secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|it| name.contains(it))
}

fn hide(value: &mut Value) {
    *value = Value::String(HIDDEN.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_in_a_pod_are_hidden_and_the_rest_is_kept() {
        let pod = json!({
            "metadata": {
                "name": "web",
                "uid": "1",
                "managedFields": [{}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "a\u{202e}b", "vault/token": "s.abc"},
            },
            "spec": {"containers": [{
                "name": "web",
                "image": "web:1",
                "env": [{"name": "A", "value": "s3cret"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}],
                "command": ["sh", "-c", "curl\n-u a:b"],
                "args": ["--port=80", "--db-password=hunter2", "--token", "hunter3", "postgres://u:hunter4@db"],
                "livenessProbe": {"httpGet": {"path": "/", "httpHeaders": [{"name": "Authorization", "value": "hunter5"}]}},
            }]},
        });
        let shown = redacted(pod);
        let text = shown.to_string();
        for secret in ["s3cret", "hunter", "s.abc", "curl", "secretKeyRef", "managedFields", "last-applied"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert_eq!(shown["spec"]["containers"][0]["env"], json!(["A", "B"]));
        assert_eq!(
            shown["spec"]["containers"][0]["args"],
            json!(["--port=80", "--db-password=(hidden)", "--token", "(hidden)", "(hidden)"])
        );
        assert_eq!(shown["metadata"]["annotations"]["note"], "a\\u{202e}b");
        assert_eq!(shown["spec"]["containers"][0]["image"], "web:1");
    }

    #[test]
    fn entries_of_a_config_map_are_named_and_not_shown() {
        let shown = redacted(json!({"data": {"config.yaml": "password: x"}}));
        assert_eq!(shown, json!({"data": {"config.yaml": HIDDEN}}));
    }

    #[test]
    fn long_lists_are_cut() {
        let shown = redacted(json!({"subsets": (0..50).collect::<Vec<_>>()}));
        assert_eq!(shown["subsets"].as_array().unwrap().len(), MAX_ITEMS + 1);
        assert_eq!(shown["subsets"][MAX_ITEMS], "(20 more)");
    }
}
