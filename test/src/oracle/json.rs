//! Reading JSON: what is absent reads as empty.

use serde_json::Value;

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn is(object: &Value, kind: &str) -> bool {
    object["kind"] == kind
}

pub(super) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(super) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// The API group; empty for the core one.
pub(super) fn group(object: &Value) -> &str {
    text(object, "/apiVersion").split_once('/').map_or("", |(group, _)| group)
}

pub(super) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// What orders objects that compete: the older comes first, then the name. All times are written alike.
pub(super) fn age(object: &Value) -> (&str, &str) {
    (text(object, "/metadata/creationTimestamp"), name(object))
}

/// README 14: the group of a reference without letter case; absent, empty and `core` are one.
pub(super) fn reference_group(reference: &Value) -> String {
    let group = text(reference, "/group").to_lowercase();
    if group == "core" { String::new() } else { group }
}

/// README 14: true when a reference is of that group and kind, without letter case.
pub(super) fn refers_to(reference: &Value, group: &str, kind: &str) -> bool {
    reference_group(reference) == group && text(reference, "/kind").eq_ignore_ascii_case(kind)
}

/// The namespace a reference names, else `own`.
pub(super) fn reference_namespace<'a>(reference: &'a Value, own: &'a str) -> &'a str {
    reference["namespace"].as_str().unwrap_or(own)
}

pub(super) const POLICY: &str = "policy.linkerd.io";
pub(super) const GATEWAY: &str = "gateway.networking.k8s.io";
