//! Objects that let in more than they seem to.

use super::{Concern, Scene, id_of};
use crate::{
    fact::PolicyObject,
    kind::Kind,
    policy::{DefaultPolicy, refers},
};
use serde_json::Value;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    scene.put().filter_map(|(_, object)| of(object)).collect()
}

fn of(object: &PolicyObject) -> Option<Concern> {
    let id = id_of(object);
    let text = match object.kind {
        Kind::AuthorizationPolicy if refers::of_policy(object)?.requires_nothing => format!(
            "{id} LETS EVERYBODY IN, from everywhere and without a mesh identity: an empty requiredAuthenticationRefs \
             means no condition, not nobody. Refer to an authentication; to let nobody in, delete the policy."
        ),
        Kind::Server => {
            let policy = object.spec.get("accessPolicy").and_then(Value::as_str)?;
            let from = match policy.parse().ok()? {
                DefaultPolicy::AllUnauthenticated => "from everywhere",
                DefaultPolicy::ClusterUnauthenticated => "from all of the cluster's networks",
                _ => return None,
            };
            format!(
                "{id} lets everybody in {from}, without a mesh identity, besides whom its authorizations name: its \
                 accessPolicy is {policy}. Use `deny`, or `audit` to see first who would be refused."
            )
        }
        Kind::NetworkAuthentication => {
            let networks = object.spec.get("networks").and_then(Value::as_array)?;
            let every = |network: &&Value| {
                let cidr = network.get("cidr").and_then(Value::as_str).unwrap_or_default();
                cidr.ends_with("/0")
                    && network.get("except").and_then(Value::as_array).is_none_or(Vec::is_empty)
            };
            let cidr = networks.iter().find(every)?.get("cidr").and_then(Value::as_str)?;
            format!(
                "{id} contains {cidr}, which is every address: a policy that requires it alone lets everybody in."
            )
        }
        _ => return None,
    };
    Some(Concern::warn("lets-everybody-in", [id], text))
}
