//! A ReplicaSet, by its metadata: it leads from a pod to a Deployment.

use super::{FactError, owner};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    owner::fact(Kind::ReplicaSet, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::{Key, Owner, OwnerRef};
    use std::sync::Arc;

    #[test]
    fn the_owner_above_it_is_read() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "web-6f5d", "ownerReferences": [
            {"apiVersion": "example/v1", "kind": "Deployment", "name": "web", "uid": "1", "controller": true,
             "blockOwnerDeletion": true}
        ]}}"#;
        assert_eq!(
            fact(json).expect("a ReplicaSet"),
            Fact::Owner(Arc::new(Owner {
                kind: Kind::ReplicaSet,
                key: Key::new("shop", "web-6f5d"),
                owner: Some(OwnerRef { kind: "Deployment".into(), name: "web".into() }),
            }))
        );
    }

    #[test]
    fn without_an_owner_it_is_the_top_itself() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "alone"}}"#;
        assert_eq!(
            fact(json).expect("a ReplicaSet"),
            Fact::Owner(Arc::new(Owner {
                kind: Kind::ReplicaSet,
                key: Key::new("shop", "alone"),
                owner: None
            }))
        );
    }
}
