//! A Job, by its metadata: it leads from a pod to a CronJob.

use super::{FactError, owner};
use crate::graph::{fact::Fact, kind::Kind};

pub(super) fn fact(json: &str) -> Result<Fact, FactError> {
    owner::fact(Kind::Job, json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::{Key, Owner, OwnerRef};
    use std::sync::Arc;

    #[test]
    fn the_owner_above_it_is_read() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "report-28912", "ownerReferences": [
            {"apiVersion": "example/v1", "kind": "CronJob", "name": "report", "uid": "1", "controller": true,
             "blockOwnerDeletion": true}
        ]}}"#;
        assert_eq!(
            fact(json).expect("a Job"),
            Fact::Owner(Arc::new(Owner {
                kind: Kind::Job,
                key: Key::new("shop", "report-28912"),
                owner: Some(OwnerRef { kind: "CronJob".into(), name: "report".into() }),
            }))
        );
    }

    #[test]
    fn an_owner_that_nothing_can_be_called_is_none() {
        for (kind, name) in [("Cron Job", "report"), ("CronJob", "re/port"), ("CronJob", ""), ("a->b", "c")] {
            let owner = serde_json::json!({"kind": kind, "name": name, "controller": true});
            let metadata = serde_json::json!({"namespace": "shop", "name": "a", "ownerReferences": [owner]});
            let Ok(Fact::Owner(job)) = fact(&serde_json::json!({"metadata": metadata}).to_string()) else {
                panic!("a Job")
            };
            assert_eq!(job.owner, None, "{kind}/{name}");
        }
    }

    #[test]
    fn without_an_owner_it_is_the_top_itself() {
        let json = r#"{"metadata": {"namespace": "shop", "name": "alone"}}"#;
        assert_eq!(
            fact(json).expect("a Job"),
            Fact::Owner(Arc::new(Owner { kind: Kind::Job, key: Key::new("shop", "alone"), owner: None }))
        );
    }
}
