//! Label selectors, with the semantics recorded from Linkerd's policy controller.

use crate::fact::Labels;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A Kubernetes label selector as it stands in a spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// Labels that must have exactly these values.
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Further conditions, all of which must hold.
    pub match_expressions: Option<Vec<Expression>>,
}

/// One condition of a [`Selector`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Expression {
    /// Label name.
    pub key: String,
    /// How the label is compared.
    pub operator: Operator,
    /// Values for `In` and `NotIn`; must be missing for the other two.
    pub values: Option<Vec<String>>,
}

/// How an [`Expression`] compares. Another one makes the object that has it unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Operator {
    /// The value is one of these.
    In,
    /// There is no value, or another than these.
    NotIn,
    /// There is a value.
    Exists,
    /// There is none.
    DoesNotExist,
}

// === impl Selector ===

impl Selector {
    /// True when `labels` meet all conditions. An empty selector matches everything.
    pub fn matches(&self, labels: &Labels) -> bool {
        let equal =
            self.match_labels.iter().flatten().all(|(name, value)| get(labels, name) == Some(value.as_str()));
        equal && self.match_expressions.iter().flatten().all(|expression| expression.matches(labels))
    }
}

impl Selector {
    /// The labels that it looks at.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let equal = self.match_labels.iter().flatten().map(|(name, _)| &**name);
        equal.chain(self.match_expressions.iter().flatten().map(|expression| &*expression.key))
    }
}

/// True for a label that says which pod of its workload this is, which version of it, or where it runs: Kubernetes
/// sets them, and they differ between pods made from one template. A real API server copies the node's zone onto pods.
pub(crate) fn tells_pods_apart(label: &str) -> bool {
    const LABELS: [&str; 12] = [
        "pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "rollouts-pod-template-hash",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "controller-uid",
        "job-name",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
        "batch.kubernetes.io/job-completion-index",
        "topology.kubernetes.io/",
    ];
    LABELS.iter().any(|known| match known.ends_with('/') {
        true => label.starts_with(known),
        false => label == *known,
    })
}

// === impl Expression ===

impl Expression {
    /// `Exists` and `DoesNotExist` with values (even an empty list), and `In` and `NotIn` without, never match:
    /// recorded from the real policy controller.
    fn matches(&self, labels: &Labels) -> bool {
        let value = get(labels, &self.key);
        match (self.operator, &self.values) {
            (Operator::In, Some(values)) => {
                value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
            }
            (Operator::NotIn, Some(values)) => {
                !value.is_some_and(|value| values.iter().any(|unwanted| unwanted == value))
            }
            (Operator::Exists, None) => value.is_some(),
            (Operator::DoesNotExist, None) => value.is_none(),
            _ => false,
        }
    }
}

fn get<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
    labels.get(name).map(|value| &**value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Arc::new(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    fn selector(json: serde_json::Value) -> Selector {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_empty_selector_matches_every_pod() {
        assert!(selector(serde_json::json!({})).matches(&labels(&[])));
    }

    #[test]
    fn all_conditions_must_hold() {
        let both = selector(serde_json::json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["canary"]}]
        }));
        assert!(both.matches(&labels(&[("app", "web")])));
        assert!(!both.matches(&labels(&[("app", "web"), ("tier", "canary")])));
        assert!(!both.matches(&labels(&[("tier", "main")])));
    }

    #[test]
    fn exists_with_values_and_in_without_never_match() {
        for expression in [
            serde_json::json!({"key": "app", "operator": "Exists", "values": []}),
            serde_json::json!({"key": "gone", "operator": "DoesNotExist", "values": []}),
            serde_json::json!({"key": "app", "operator": "In"}),
            serde_json::json!({"key": "gone", "operator": "NotIn"}),
        ] {
            let odd = selector(serde_json::json!({"matchExpressions": [expression]}));
            assert!(!odd.matches(&labels(&[("app", "web")])), "{odd:?}");
        }
    }

    #[test]
    fn an_unknown_operator_makes_the_selector_unreadable() {
        let odd =
            serde_json::json!({"matchExpressions": [{"key": "app", "operator": "in", "values": ["web"]}]});
        assert!(serde_json::from_value::<Selector>(odd).is_err());
    }
}
