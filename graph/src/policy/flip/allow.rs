//! Changes that let a client in: of what it is refused by, of what is missing, or one authorization more.

use super::{
    Call, Candidate, Client, Decision, Flip, Key, Kind, PolicyId, PolicyObject, Text, changes,
    effect::users,
    object::{Who, edited, free_name, id_of, items, network, new, reference, with_field, with_item},
};
use crate::policy::{
    Fault, Ignored,
    answer::Protocol,
    selector::tells_pods_apart,
    spec::{self, AuthorizationPolicySpec, Required, Target},
    verdict::{Origin, Refusal, origin},
};
use serde_json::{Value, json};

/// What may let the call's client in.
pub(super) fn candidates(call: Call<'_>) -> Vec<Candidate> {
    let Some(who) = Who::of(call.client, call.addresses, call.policies.cluster()) else { return Vec::new() };
    let mut candidates = edits(call, &who);
    candidates.extend(missing(call, &who));
    candidates.extend(unclaimed(call, &who));
    let targets = [call.route_object(), call.server_object()];
    candidates.extend(targets.into_iter().flatten().map(|target| authorization(call, &who, target)));
    candidates.extend(instead_of_default(call, &who));
    candidates
}

// --- one line more in what refuses the client ---

fn edits(call: Call<'_>, who: &Who) -> Vec<Candidate> {
    let server = call.server();
    let rows = server.admitting(call.request).unwrap_or_default();
    let refused = rows.into_iter().filter_map(|row| {
        let because = call.client.passes(row).err()?;
        match origin(&call.namespace(), &row.metadata) {
            Origin::Object(id) => Some((call.object(&id)?, because)),
            Origin::Default(_) => None,
        }
    });
    refused
        .flat_map(|(authorization, because)| match authorization.kind {
            Kind::ServerAuthorization => server_authorization(authorization, who).into_iter().collect(),
            _ => required(call, authorization, who, because),
        })
        .collect()
}

/// The client's identity in the MeshTLSAuthentication, or its address in the NetworkAuthentication, that an
/// AuthorizationPolicy asks for.
fn required(call: Call<'_>, policy: &PolicyObject, who: &Who, because: Refusal) -> Vec<Candidate> {
    let Ok(spec) = AuthorizationPolicySpec::read(&policy.spec, &policy.key.namespace) else {
        return Vec::new();
    };
    let edit = |required: &Required| {
        let (kind, key) = match (required, because) {
            (Required::MeshTls(key), Refusal::Identity | Refusal::SpiffeNeedsExactMatch) => {
                (Kind::MeshTLSAuthentication, key)
            }
            (Required::Network(key), Refusal::Network) => (Kind::NetworkAuthentication, key),
            _ => return None,
        };
        let object = call.policies.objects().policy(kind, key)?;
        let put = edited(object, with_client(object, call, who)?);
        let others: Vec<String> = users(call, kind, key)
            .into_iter()
            .filter(|user| *user != policy.key)
            .map(|user| format!("{}/{user}", Kind::AuthorizationPolicy.policy_prefix()))
            .collect();
        let shared = match &*others {
            [] => String::new(),
            others => format!(" {} asks for it too.", others.join(", ")),
        };
        let what = what_is_added(call, who, kind);
        let text = format!("Add {what} to {}, which {} asks for.{shared}", id_of(object), id_of(policy));
        // What others rely on is touched last.
        Some(Candidate::put(text, 1 + 2 * others.len(), vec![put]))
    };
    spec.required.iter().filter_map(edit).collect()
}

fn what_is_added(call: Call<'_>, who: &Who, kind: Kind) -> String {
    match kind {
        Kind::NetworkAuthentication => networks(call).join(", "),
        _ => who.to_string(),
    }
}

/// Each address of the client as a network of its own.
fn networks(call: Call<'_>) -> Vec<String> {
    match call.addresses {
        [] => call.client.address.into_iter().map(network).collect(),
        addresses => addresses.iter().copied().map(network).collect(),
    }
}

/// The spec of an authentication with the client in it.
fn with_client(object: &PolicyObject, call: Call<'_>, who: &Who) -> Option<Value> {
    let cluster = call.policies.cluster();
    match (object.kind, who) {
        (Kind::NetworkAuthentication, _) => {
            let networks = networks(call).into_iter().map(|cidr| json!({"cidr": cidr}));
            let missing = networks.filter(|network| !items(&object.spec, "networks").contains(network));
            let mut spec = Value::clone(&object.spec);
            for network in missing {
                spec = with_item(&spec, "networks", network)?;
            }
            (*object.spec != spec).then_some(spec)
        }
        // The schema takes one of the two lists.
        (_, Who::Account(key)) if !items(&object.spec, "identityRefs").is_empty() => {
            let account = json!({"kind": "ServiceAccount", "name": key.name, "namespace": key.namespace});
            with_item(&object.spec, "identityRefs", account)
        }
        (_, Who::Account(key)) => {
            with_item(&object.spec, "identities", json!(cluster.identity(&key.namespace, &key.name)))
        }
        (_, Who::Identity(identity)) if items(&object.spec, "identityRefs").is_empty() => {
            with_item(&object.spec, "identities", json!(identity))
        }
        (_, Who::Identity(_) | Who::Addresses(_)) => None,
    }
}

/// One ServiceAccount or identity more in a ServerAuthorization. Its schema has no SPIFFE identities.
fn server_authorization(object: &PolicyObject, who: &Who) -> Option<Candidate> {
    let client = object.spec.get("client")?;
    let empty = json!({});
    let mesh_tls = client.get("meshTLS").unwrap_or(&empty);
    let mesh_tls = match who {
        Who::Account(key) if items(mesh_tls, "identities").is_empty() => {
            let account = json!({"name": key.name, "namespace": key.namespace});
            with_item(mesh_tls, "serviceAccounts", account)?
        }
        Who::Identity(identity) if !identity.contains("://") => {
            with_item(mesh_tls, "identities", json!(identity))?
        }
        _ => return None,
    };
    let spec = with_field(&object.spec, "client", with_field(client, "meshTLS", mesh_tls)?)?;
    let text = format!("Add {who} to the clients of {}.", id_of(object));
    Some(Candidate::put(text, 1, vec![edited(object, spec)]))
}

// --- what is written and ignored ---

/// Authentications that AuthorizationPolicies on the port ask for and that do not exist or cannot be used.
fn missing(call: Call<'_>, who: &Who) -> Vec<Candidate> {
    let namespace = call.namespace();
    let ignored = call.policies.ignored_in(&namespace).iter();
    let policies = ignored.filter(|it| matches!(it.fault, Fault::Missing(_)));
    policies.filter_map(|Ignored { id, .. }| revive(call, who, id)).collect()
}

fn revive(call: Call<'_>, who: &Who, id: &PolicyId) -> Option<Candidate> {
    let policy = call.object(id).filter(|it| it.kind == Kind::AuthorizationPolicy)?;
    let spec = AuthorizationPolicySpec::read(&policy.spec, &policy.key.namespace).ok()?;
    if !bears_on(call, &spec.target) {
        return None;
    }
    let objects = call.policies.objects();
    let mut put = Vec::new();
    for required in &spec.required {
        let (kind, key) = match required {
            Required::MeshTls(key) => (Kind::MeshTLSAuthentication, key),
            Required::Network(key) => (Kind::NetworkAuthentication, key),
            Required::ServiceAccount(_) => continue,
        };
        match objects.policy(kind, key) {
            Some(object) if is_usable(call, object) => {}
            Some(object) => put.push(edited(object, with_client(object, call, who)?)),
            None => {
                let empty = new(kind, &key.namespace, key.name.clone(), json!({}));
                let spec = with_client(&empty, call, who)?;
                put.push(edited(&empty, spec));
            }
        }
    }
    let names: Vec<String> = put.iter().map(|object| id_of(object).to_string()).collect();
    let text = format!(
        "{id} is ignored, because it asks for {}, which does not exist or names nobody. Put it there with {who} in it, \
         and whoever else it was meant for.",
        names.join(" and ")
    );
    let edits = put.len();
    (edits > 0).then(|| Candidate::put(text, edits, put))
}

fn is_usable(call: Call<'_>, object: &PolicyObject) -> bool {
    match object.kind {
        Kind::NetworkAuthentication => spec::network_authentication(&object.spec).is_ok(),
        _ => {
            let cluster = call.policies.cluster();
            spec::mesh_tls_authentication(&object.spec, &object.key.namespace, cluster).is_ok()
        }
    }
}

fn bears_on(call: Call<'_>, target: &Target) -> bool {
    match target {
        Target::Server(name) => call.server_object().is_some_and(|server| server.key.name == *name),
        Target::Namespace => call.server_object().is_some(),
        Target::Route(kind, name) => call
            .route_object()
            .is_some_and(|route| route.kind == *kind && route.key.name.eq_ignore_ascii_case(name)),
    }
}

/// A ServerAuthorization that names no client is ignored.
fn unclaimed(call: Call<'_>, who: &Who) -> Vec<Candidate> {
    let namespace = call.namespace();
    let ignored = call.policies.ignored_in(&namespace).iter();
    ignored
        .filter(|it| matches!(it.fault, Fault::NoClient))
        .filter_map(|it| server_authorization(call.object(&it.id)?, who))
        .collect()
}

// --- an authorization more ---

/// An AuthorizationPolicy for the client on a Server or a route.
fn authorization(call: Call<'_>, who: &Who, target: &PolicyObject) -> Candidate {
    let put = policy_on(call, who, reference(target), &target.key.name);
    let mut text = format!("Let {who} in at {} with a new AuthorizationPolicy.", id_of(target));
    if matches!(who, Who::Addresses(_)) {
        text.push_str(
            " An address proves nothing and may be another pod's tomorrow: meshing the client and authorizing its \
             identity is the better way.",
        );
    }
    Candidate::put(text, put.len() * 2, put)
}

/// The AuthorizationPolicy and what it asks for, which comes first.
fn policy_on(call: Call<'_>, who: &Who, target: Value, on: &str) -> Vec<PolicyObject> {
    let namespace = call.namespace();
    let objects = call.policies.objects();
    let words = [on, &who.word()];
    let mut put = Vec::new();
    let required = match who {
        Who::Account(key) if key.namespace == namespace => {
            json!({"kind": "ServiceAccount", "name": key.name})
        }
        Who::Account(key) => {
            json!({"kind": "ServiceAccount", "name": key.name, "namespace": key.namespace})
        }
        Who::Identity(identity) => {
            let kind = Kind::MeshTLSAuthentication;
            let name = free_name(objects, kind, &namespace, &words);
            put.push(new(kind, &namespace, name, json!({"identities": [identity]})));
            put.last().map(reference).unwrap_or_default()
        }
        Who::Addresses(addresses) => {
            let networks: Vec<Value> = addresses.iter().map(|it| json!({"cidr": network(*it)})).collect();
            let kind = Kind::NetworkAuthentication;
            let name = free_name(objects, kind, &namespace, &words);
            put.push(new(kind, &namespace, name, json!({"networks": networks})));
            put.last().map(reference).unwrap_or_default()
        }
    };
    let kind = Kind::AuthorizationPolicy;
    let name = free_name(objects, kind, &namespace, &words);
    let spec = json!({"targetRef": target, "requiredAuthenticationRefs": [required]});
    put.push(new(kind, &namespace, name, spec));
    put
}

/// Where a default policy holds: a Server that lets in whom the default does, and the client.
fn instead_of_default(call: Call<'_>, who: &Who) -> Option<Candidate> {
    let policy = call.server().labels;
    if &*policy.kind != "default" {
        return None;
    }
    let server = server(call, &policy.name)?;
    let mut put = policy_on(call, who, reference(&server), &server.key.name);
    let text = format!(
        "Nothing but the default policy `{0}` holds on port {1}. Select it with a new Server that keeps `{0}` as its \
         accessPolicy, and let {who} in there. From then on the Server decides on the port, not the default policy.",
        policy.name, call.endpoint.port
    );
    put.insert(0, server);
    Some(Candidate::put(text, put.len() * 2, put))
}

/// A Server for the call's port on the pods of its workload alone, as far as labels can tell.
pub(super) fn server(call: Call<'_>, access: &str) -> Option<PolicyObject> {
    let template = call.endpoint.template;
    let stable = |name: &str| !tells_pods_apart(name) && !name.starts_with("linkerd.io/");
    let labels: serde_json::Map<String, Value> = template
        .labels
        .iter()
        .filter(|(name, _)| stable(name))
        .map(|(name, value)| (name.to_string(), json!(value)))
        .collect();
    // Without labels it would select every pod of the namespace.
    if labels.is_empty() {
        return None;
    }
    let selector = if template.external { "externalWorkloadSelector" } else { "podSelector" };
    let protocol = match call.server().protocol {
        Protocol::Opaque {} => "opaque",
        _ => "unknown",
    };
    let (namespace, port) = (call.namespace(), call.endpoint.port.to_string());
    let words = [call.endpoint.workload.name(), &*port];
    let name = free_name(call.policies.objects(), Kind::Server, &namespace, &words);
    let spec = json!({
        selector: {"matchLabels": labels},
        "port": call.endpoint.port,
        "proxyProtocol": protocol,
        "accessPolicy": access,
    });
    Some(new(Kind::Server, &namespace, name, spec))
}

// --- a proxy for the client ---

/// Without an identity nothing but addresses can be authorized: what if the client had one?
pub(super) fn by_meshing_the_client(call: Call<'_>) -> Option<Flip> {
    if call.client.tls {
        return None;
    }
    let flip = |text, becomes| Some(Flip { text, becomes, put: Vec::new(), removes: Vec::new() });
    let let_in = |decision| matches!(decision, Decision::Allow | Decision::Audit);
    let Some(address) = call.client.address else {
        // Any identity will do to see that having one would help, or authorizing one.
        let identity = call.policies.cluster().identity(&call.namespace(), "client");
        let meshed = Client::meshed(identity, None);
        let becomes = call.judge_as(call.policies, &meshed).decision;
        if let_in(becomes) {
            let text = "Put the client in the mesh (annotation linkerd.io/inject: enabled, and a restart): clients with \
                        a mesh identity are let in already.";
            return flip(text.to_owned(), becomes);
        }
        let who = Who::Account(Key::new(&*call.namespace(), "client"));
        let target = call.server_object()?;
        let put = policy_on(call, &who, reference(target), &target.key.name);
        let becomes = call.judge_as(&call.policies.changed(changes(&put, &[])), &meshed).decision;
        let text = format!(
            "Put the client in the mesh (annotation linkerd.io/inject: enabled, and a restart), then authorize its \
             identity on {}. Where it is not known which client it is, the log of the proxy of {} has its address.",
            id_of(target),
            call.endpoint.workload
        );
        return let_in(becomes).then(|| flip(text, becomes)).flatten();
    };
    let mut workloads = call.mesh.graph.workloads.iter();
    let (id, workload) = workloads.find(|(_, workload)| {
        let mut templates = workload.templates.iter().filter(|template| !template.host_network);
        templates.any(|template| template.addresses.contains(&address))
    })?;
    let account: Text = match &*workload.service_account {
        "" => "default".into(),
        _ => workload.service_account.clone(),
    };
    let identity = call.policies.cluster().identity(id.namespace(), &account);
    let meshed = Client::meshed(identity.clone(), Some(address));
    let verdict = call.judge_as(call.policies, &meshed);
    if !let_in(verdict.decision) {
        return None;
    }
    flip(
        format!(
            "Put {id} in the mesh (annotation linkerd.io/inject: enabled, and a restart): it then proves to be \
             `{identity}`, which is let in already."
        ),
        verdict.decision,
    )
}
