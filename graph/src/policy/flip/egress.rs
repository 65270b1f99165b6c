//! Calls out of the cluster: the EgressNetwork's own policy is the whole decision.

use super::{
    Decision, Flip, Mesh, Origin, Reason, Verdict,
    object::{edited, id_of, with_field},
};
use crate::policy::ask::lets_out;
use serde_json::json;

pub(super) fn flips(mesh: &Mesh<'_>, verdict: &Verdict) -> Vec<Flip> {
    verdict.reasons.iter().find_map(|reason| flip(mesh, reason)).into_iter().collect()
}

fn flip(mesh: &Mesh<'_>, reason: &Reason) -> Option<Flip> {
    let Reason::EgressNetwork { network: Origin::Object(id), allows } = reason else { return None };
    let network = mesh.policies.objects().by_id(id)?;
    let policy = if *allows { "Deny" } else { "Allow" };
    let put = edited(network, with_field(&network.spec, "trafficPolicy", json!(policy))?);
    if lets_out(&put.spec) == *allows {
        return None;
    }
    let (becomes, verb) = match allows {
        true => (Decision::Deny, "keeps in"),
        false => (Decision::Allow, "lets out"),
    };
    let text = format!(
        "Set trafficPolicy of {} to {policy}. It then {verb} every call to its networks that no route of it matches, \
         whoever calls from its reach; to change this destination alone, attach a route to it instead.",
        id_of(network)
    );
    Some(Flip { text, becomes, put: vec![put], removes: Vec::new() })
}
