//! References to objects by group, kind and name.

use serde::Deserialize;

/// A reference, with a namespace where the kind of reference allows one.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Reference {
    pub(super) group: Option<String>,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: Option<String>,
}

pub(super) const LINKERD: &str = "policy.linkerd.io";
pub(super) const GATEWAY: &str = "gateway.networking.k8s.io";
pub(super) const CORE: &str = "";

// === impl Reference ===

impl Reference {
    /// True when it refers to this kind.
    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        same_group(self.group.as_deref(), group) && self.kind.eq_ignore_ascii_case(kind)
    }

    /// `kind.group`, for messages.
    pub(super) fn kind_and_group(&self) -> String {
        match self.group.as_deref() {
            None | Some("") => self.kind.clone(),
            Some(group) => format!("{}.{group}", self.kind),
        }
    }
}

/// Compares without letter case; an absent group, an empty one and `core` are the same.
pub(super) fn same_group(written: Option<&str>, group: &str) -> bool {
    fn full(group: &str) -> &str {
        if group.is_empty() { "core" } else { group }
    }
    full(written.unwrap_or_default()).eq_ignore_ascii_case(full(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_group_has_three_spellings_and_letter_case_does_not_matter() {
        for group in [None, Some(""), Some("core"), Some("CORE")] {
            assert!(same_group(group, CORE), "{group:?}");
            assert!(!same_group(group, LINKERD), "{group:?}");
        }
        assert!(same_group(Some("Policy.Linkerd.io"), LINKERD));
        let account: Reference =
            serde_json::from_value(serde_json::json!({"kind": "serviceaccount", "name": "web"})).unwrap();
        assert!(account.is(CORE, "ServiceAccount"));
    }
}
