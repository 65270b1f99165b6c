//! What the policy kinds and routes share: labels, age, spec and status are kept as they are, because judging them
//! is the graph's work.

use super::{
    FactError, MAX_DEPTH,
    object::{self, LabelMap, Metadata},
};
use crate::graph::{
    fact::{Fact, PolicyObject},
    id::Text,
    kind::Kind,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    api_version: Option<Text>,
    metadata: Metadata<LabelMap>,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// The fact of a policy object or route of `kind`.
pub(super) fn fact(kind: Kind, json: &str) -> Result<Fact, FactError> {
    let mut policy: Policy = object::read(json)?;
    if !fits(&policy.spec, MAX_DEPTH) || !fits(&policy.status, MAX_DEPTH) {
        return Err(FactError::Deep);
    }
    Ok(Fact::Policy(Arc::new(PolicyObject {
        kind,
        key: policy.metadata.key()?,
        api_version: object::present(policy.api_version).unwrap_or_else(|| newest(kind)),
        labels: Arc::new(policy.metadata.take_labels()),
        created_ms: policy.metadata.created_ms(),
        spec: Arc::new(policy.spec),
        status: Arc::new(policy.status),
    })))
}

/// Whether `value` has at most `levels` levels of lists and mappings.
fn fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| fits(item, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|field| fits(field, levels - 1)),
        _ => true,
    }
}

/// `group/version` of the newest version we know, for JSON that does not say.
fn newest(kind: Kind) -> Text {
    let row = kind.row();
    format!("{}/{}", row.group, row.versions[0]).into()
}

/// What the tests of the policy kinds expect of [`example`].
#[cfg(test)]
pub(super) fn mk_policy(kind: Kind, api_version: &str, spec: Value, status: Value) -> Fact {
    use crate::graph::fact::Key;
    Fact::Policy(Arc::new(PolicyObject {
        kind,
        key: Key::new("shop", "example"),
        api_version: api_version.into(),
        labels: Arc::new(LabelMap::from([("team".into(), "store".into())])),
        created_ms: Some(1_767_323_045_000),
        spec: Arc::new(spec),
        status: Arc::new(status),
    }))
}

/// A policy object as the API server sends it.
#[cfg(test)]
pub(super) fn example(api_version: &str, kind: &str, spec: &Value, status: &Value) -> String {
    let mut object = serde_json::json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": "example",
            "namespace": "shop",
            "uid": "5d2a3f52-8f53-4a3d-b1f5-6b8f0c9a7e11",
            "resourceVersion": "4711",
            "generation": 1,
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"team": "store"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {".": {}}}}]
        },
        "spec": spec,
    });
    if !status.is_null() {
        object["status"] = status.clone();
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_served_version_is_kept_and_a_missing_status_is_null() {
        let spec = json!({"port": "http"});
        let json = example("policy.linkerd.io/v1beta1", "Server", &spec, &Value::Null);
        assert_eq!(
            fact(Kind::Server, &json).expect("a Server"),
            mk_policy(Kind::Server, "policy.linkerd.io/v1beta1", spec, Value::Null)
        );
    }

    #[test]
    fn without_a_version_the_newest_is_assumed() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "a"}, "spec": {}}"#;
        let Fact::Policy(policy) = fact(Kind::Server, json).expect("a Server") else { panic!("a policy") };
        assert_eq!(&*policy.api_version, "policy.linkerd.io/v1beta3");
        assert_eq!(policy.created_ms, None);
    }

    #[test]
    fn an_object_that_is_nested_too_deep_for_the_feed_is_refused() {
        let nested = |levels: usize| {
            let spec = ["[".repeat(levels), "]".repeat(levels)].concat();
            format!(r#"{{"metadata": {{"namespace": "shop", "name": "a"}}, "spec": {spec}}}"#)
        };
        assert!(fact(Kind::Server, &nested(MAX_DEPTH)).is_ok());
        assert!(matches!(fact(Kind::Server, &nested(MAX_DEPTH + 1)), Err(FactError::Deep)));
    }

    #[test]
    fn a_name_that_makes_no_id_is_refused() {
        for name in ["a/b", "a b", "é", "a->b", "a:80", &"a".repeat(254)] {
            let json = serde_json::json!({"metadata": {"namespace": "shop", "name": name}}).to_string();
            assert!(matches!(fact(Kind::Server, &json), Err(FactError::Name(_))), "{name}");
            let json = serde_json::json!({"metadata": {"namespace": name, "name": "a"}}).to_string();
            assert!(matches!(fact(Kind::Server, &json), Err(FactError::Name(_))), "{name}");
        }
    }

    #[test]
    fn a_spec_of_any_shape_is_kept_for_the_graph_to_judge() {
        let json = example("policy.linkerd.io/v1beta3", "Server", &json!("nonsense"), &Value::Null);
        assert!(fact(Kind::Server, &json).is_ok());
    }
}
