//! Calls to addresses outside the cluster: what the client's own proxy makes of them.
//!
//! An EgressNetwork of the client's namespace, else of the namespace `linkerd-egress`, that covers the address most
//! closely decides by its `trafficPolicy`; routes that name it as parent let more through. Without one Linkerd lets
//! everything out.

use super::{Caller, Mesh, Unanswerable};
use crate::{
    id::{ExternalId, PolicyId},
    kind::Kind,
    policy::{Client, Decision, Objects, Reason, Verdict, verdict::Origin},
};
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// The namespace whose EgressNetworks are for all clients.
const GLOBAL: &str = "linkerd-egress";

/// Decides a call to `to`.
pub(super) fn verdict(
    mesh: &Mesh<'_>,
    caller: &Caller,
    client: &Client,
    to: &ExternalId,
) -> Result<Verdict, Unanswerable> {
    let address: IpAddr =
        to.host().parse().map_err(|_| Unanswerable::NoExternal(format!("external:{to}")))?;
    if client.identity.is_none() {
        return Ok(Verdict { decision: Decision::Allow, reasons: vec![Reason::ClientNotMeshed] });
    }
    let objects = mesh.policies.objects();
    let namespaces = [caller.namespace().unwrap_or(GLOBAL), GLOBAL];
    let Some((network, allows)) = namespaces.into_iter().find_map(|it| covering(objects, it, address)) else {
        return Ok(Verdict { decision: Decision::Allow, reasons: vec![Reason::NoEgressNetwork] });
    };
    let routes = routes_of(objects, &network);
    let decision = if allows { Decision::Allow } else { Decision::Deny };
    let mut reasons = vec![Reason::EgressNetwork { network: Origin::Object(network), allows }];
    if !routes.is_empty() {
        reasons.push(Reason::EgressRoutes { routes: routes.into_iter().map(Origin::Object).collect() });
    }
    Ok(Verdict { decision, reasons })
}

/// The EgressNetwork of a namespace that covers `address` most closely, and whether it lets traffic out.
fn covering(objects: &Objects, namespace: &str, address: IpAddr) -> Option<(PolicyId, bool)> {
    objects
        .policies(Kind::EgressNetwork, namespace)
        .filter_map(|object| {
            let bits = covers(&object.spec, address)?;
            let allows = lets_out(&object.spec);
            let age = object.created_ms.unwrap_or(i64::MAX);
            let id = PolicyId::new(Kind::EgressNetwork.policy_prefix(), namespace, &object.key.name);
            Some(((bits, std::cmp::Reverse((age, id.clone()))), id, allows))
        })
        .max_by(|a, b| a.0.cmp(&b.0))
        .map(|(_, id, allows)| (id, allows))
}

/// The traffic policy of an EgressNetwork.
pub(in crate::policy) fn lets_out(spec: &Value) -> bool {
    spec.get("trafficPolicy").and_then(Value::as_str) != Some("Deny")
}

/// How long the longest network is that covers the address; 0 without `networks`, which stands for all outside.
fn covers(spec: &Value, address: IpAddr) -> Option<u8> {
    let Some(networks) = spec.get("networks").and_then(Value::as_array) else { return Some(0) };
    let net = |value: &Value| value.as_str()?.parse::<IpNet>().ok();
    networks
        .iter()
        .filter_map(|network| {
            let cidr = net(network.get("cidr")?)?;
            let excepted = network.get("except").and_then(Value::as_array).into_iter().flatten();
            let excepted = excepted.filter_map(net).any(|except| except.contains(&address));
            (cidr.contains(&address) && !excepted).then(|| cidr.prefix_len())
        })
        .max()
}

fn routes_of(objects: &Objects, network: &PolicyId) -> Vec<PolicyId> {
    let kinds =
        [Kind::LinkerdHTTPRoute, Kind::GatewayHTTPRoute, Kind::GRPCRoute, Kind::TLSRoute, Kind::TCPRoute];
    let names = |object: &crate::fact::PolicyObject| {
        let parents = object.spec.get("parentRefs").and_then(Value::as_array);
        parents.into_iter().flatten().any(|parent| {
            let text = |field| parent.get(field).and_then(Value::as_str);
            text("kind") == Some("EgressNetwork")
                && text("name") == Some(network.name())
                && text("namespace").unwrap_or(&object.key.namespace) == network.namespace()
        })
    };
    kinds
        .into_iter()
        .flat_map(|kind| objects.all(kind))
        .filter(|object| names(object))
        .map(|object| PolicyId::new(object.kind.policy_prefix(), &object.key.namespace, &object.key.name))
        .collect()
}
