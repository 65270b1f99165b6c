//! Values that are put together as Helm does it: maps merge, everything else replaces, null takes away.

use serde_json::{Map, Value};

/// What `over` says, put over `under`. Null stays, to take a default away later.
pub(super) fn merge(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Fills `set` with the defaults. Null in place of a default takes it away; a null that has no default stays, for the
/// schema to refuse.
pub(super) fn coalesce(set: &mut Map<String, Value>, defaults: &Map<String, Value>) {
    for (key, default) in defaults {
        match (set.get_mut(key), default) {
            (None, _) => {
                set.insert(key.clone(), default.clone());
            }
            (Some(Value::Null), _) => {
                set.remove(key);
            }
            (Some(Value::Object(set)), Value::Object(default)) => coalesce(set, default),
            (Some(_), _) => {}
        }
    }
}

/// True when the value at `path` is set, be it to null.
pub(super) fn is_set(values: &Map<String, Value>, path: &[&str]) -> bool {
    match path {
        [] => true,
        [key, rest @ ..] => match values.get(*key) {
            Some(Value::Object(inner)) => is_set(inner, rest),
            // The schema says what it thinks of text where a map belongs.
            Some(_) => true,
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn maps_merge_lists_replace_and_null_takes_a_default_away() {
        let defaults = map(json!({"a": {"x": 1, "y": 2}, "l": [1, 2], "gone": {"k": 1}, "kept": true}));
        let mut set = map(json!({"a": {"x": 9, "y": 8}, "l": [1]}));
        merge(&mut set, map(json!({"a": {"y": null, "z": 3}, "l": [3], "gone": null, "odd": null})));
        coalesce(&mut set, &defaults);
        assert_eq!(Value::Object(set), json!({"a": {"x": 9, "z": 3}, "l": [3], "kept": true, "odd": null}));
    }

    #[test]
    fn a_value_is_set_by_its_path_only() {
        let set = map(json!({"viz": {"namespace": "v"}, "x": null}));
        assert!(is_set(&set, &["viz", "namespace"]) && is_set(&set, &["x"]));
        assert!(!is_set(&set, &["viz", "enabled"]) && !is_set(&set, &["y", "z"]));
    }
}
