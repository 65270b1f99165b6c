//! Changes that shut a client out: of everything that lets it in, for one authorization left over is enough.

use super::{
    Call, Candidate, Client, Decision, Flip, Kind, Policies, PolicyId, PolicyObject, Reason, Text, Verdict,
    allow,
    object::{Who, edited, free_name, id_of, items, new, reference, with_field},
};
use crate::{
    model::Template,
    policy::{
        answer::Authorization,
        probe,
        spec::{AuthorizationPolicySpec, Required},
        verdict::{Origin, origin},
    },
    query::{self, Node},
};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// One part of a change: what lets the client in does so no more.
enum Part {
    Put(PolicyObject, String),
    Remove(PolicyId),
}

/// What may shut the call's client out.
pub(super) fn candidates(call: Call<'_>) -> Vec<Candidate> {
    let server = call.server();
    let rows = server.admitting(call.request).unwrap_or_default();
    let admitting: Vec<&Authorization> =
        rows.into_iter().filter(|row| call.client.passes(row).is_ok()).collect();
    let whole = |narrow: bool| -> Option<Vec<Part>> {
        let parts = admitting.iter().map(|row| part(call, row, narrow));
        parts.collect::<Option<Vec<_>>>().filter(|parts| !parts.is_empty())
    };
    let mut candidates = Vec::new();
    for parts in [whole(true), whole(false)].into_iter().flatten() {
        let candidate = join(parts);
        candidates.extend(keeping_the_others(call, &candidate));
        candidates.push(candidate);
    }
    candidates
}

fn part(call: Call<'_>, row: &Authorization, narrow: bool) -> Option<Part> {
    match origin(&call.namespace(), &row.metadata) {
        Origin::Default(name) => default(call, &name),
        Origin::Object(id) => {
            let object = call.object(&id)?;
            let narrowed = if narrow { narrowed(call, object) } else { None };
            Some(narrowed.unwrap_or(Part::Remove(id)))
        }
    }
}

/// A default lets in by the Server's accessPolicy, or where there is no Server at all.
fn default(call: Call<'_>, name: &Text) -> Option<Part> {
    // Probes are let in as long as no route is attached.
    if &**name == probe::PROBE {
        return None;
    }
    Some(match call.server_object() {
        Some(server) => {
            let put = edited(server, with_field(&server.spec, "accessPolicy", json!("deny"))?);
            let text = format!("Set accessPolicy of {} to deny", id_of(server));
            Part::Put(put, text)
        }
        None => {
            let put = allow::server(call, "deny")?;
            let port = call.endpoint.port;
            let text = format!(
                "select port {port} with a new Server {}, which takes it over from the default policy `{name}` for \
                 everybody",
                put.key
            );
            Part::Put(put, text)
        }
    })
}

/// The authorization without this client, where it names the client and others.
fn narrowed(call: Call<'_>, object: &PolicyObject) -> Option<Part> {
    let who = Who::of(call.client, call.addresses, call.policies.cluster())?;
    match object.kind {
        Kind::ServerAuthorization => {
            let client = object.spec.get("client")?;
            let mesh_tls = without(call, client.get("meshTLS")?, &who, &object.key.namespace)?;
            let put =
                edited(object, with_field(&object.spec, "client", with_field(client, "meshTLS", mesh_tls)?)?);
            Some(Part::Put(put, format!("take {who} out of {}", id_of(object))))
        }
        _ => {
            let spec = AuthorizationPolicySpec::read(&object.spec, &object.key.namespace).ok()?;
            spec.required.iter().find_map(|required| {
                let (kind, key) = match required {
                    Required::MeshTls(key) => (Kind::MeshTLSAuthentication, key),
                    Required::Network(key) => (Kind::NetworkAuthentication, key),
                    Required::ServiceAccount(_) => return None,
                };
                let authentication = call.policies.objects().policy(kind, key)?;
                let (spec, what) = match kind {
                    Kind::NetworkAuthentication => {
                        (without_addresses(call, &authentication.spec)?, who.to_string())
                    }
                    _ => (without(call, &authentication.spec, &who, &key.namespace)?, who.to_string()),
                };
                let text = format!("take {what} out of {}", id_of(authentication));
                Some(Part::Put(edited(authentication, spec), text))
            })
        }
    }
}

/// Lists of identities or ServiceAccounts without the client; `None` when it is not in them or alone in them.
fn without(call: Call<'_>, spec: &Value, who: &Who, namespace: &str) -> Option<Value> {
    let cluster = call.policies.cluster();
    let identity = match who {
        Who::Account(key) => cluster.identity(&key.namespace, &key.name),
        Who::Identity(identity) => identity.clone(),
        Who::Addresses(_) => return None,
    };
    let is_client = |item: &Value| match item {
        Value::String(text) => **text == *identity,
        item => {
            let text = |field: &str| item.get(field).and_then(Value::as_str);
            let account = text("kind").is_none_or(|kind| kind.eq_ignore_ascii_case("ServiceAccount"));
            let own = text("namespace").unwrap_or(namespace);
            account && text("name").is_some_and(|name| cluster.identity(own, name) == identity)
        }
    };
    let mut spec = spec.clone();
    let mut left = 0;
    let mut taken = false;
    for field in ["identities", "identityRefs", "serviceAccounts"] {
        if let Some(list) = spec.get_mut(field).and_then(Value::as_array_mut) {
            let before = list.len();
            list.retain(|item| !is_client(item));
            taken |= list.len() < before;
            left += list.len();
        }
    }
    (taken && left > 0).then_some(spec)
}

/// Networks that the client's addresses are in, with these as exceptions; a network that is nothing else goes.
fn without_addresses(call: Call<'_>, spec: &Value) -> Option<Value> {
    // Of a meshed client the identity is what should be taken away.
    let addresses: Vec<IpNet> = match (call.client.tls, call.addresses) {
        (true, _) => return None,
        (false, []) => call.client.address.into_iter().map(IpNet::from).collect(),
        (false, addresses) => addresses.iter().copied().map(IpNet::from).collect(),
    };
    let alone = |text: &str| text.parse::<IpAddr>().map(IpNet::from);
    let net = |text: &str| text.parse::<IpNet>().ok().or_else(|| alone(text).ok());
    let mut networks = Vec::new();
    for network in items(spec, "networks") {
        let cidr = net(network.get("cidr")?.as_str()?)?;
        if addresses.contains(&cidr) {
            continue;
        }
        let mut excepted = items(network, "except").to_vec();
        let inside = addresses.iter().filter(|own| cidr.contains(*own));
        excepted.extend(
            inside
                .map(|own| json!(own.to_string()))
                .filter(|own| !excepted.contains(own))
                .collect::<Vec<_>>(),
        );
        networks.push(match excepted.is_empty() {
            true => network.clone(),
            false => with_field(network, "except", Value::Array(excepted))?,
        });
    }
    let some = !networks.is_empty();
    some.then(|| with_field(spec, "networks", Value::Array(networks))).flatten()
}

fn join(parts: Vec<Part>) -> Candidate {
    let mut candidate = Candidate { text: String::new(), edits: 0, put: Vec::new(), removes: Vec::new() };
    let mut texts = Vec::new();
    for part in parts {
        match part {
            // Two policies may ask for one authentication.
            Part::Put(object, text) if !candidate.put.contains(&object) => {
                candidate.edits += if object.created_ms.is_none() { 2 } else { 1 };
                candidate.put.push(object);
                texts.push(text);
            }
            Part::Put(..) => {}
            Part::Remove(id) => {
                candidate.edits += 1;
                texts.push(format!("remove {id}"));
                candidate.removes.push(id);
            }
        }
    }
    let mut text = texts.join(", and ");
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    candidate.text = format!("{text}.");
    candidate
}

/// The same, and an AuthorizationPolicy for the identities that call now and would be shut out with the client.
fn keeping_the_others(call: Call<'_>, candidate: &Candidate) -> Option<Candidate> {
    let after = call.policies.changed(candidate.changes());
    let others: BTreeSet<Text> = calling(call)
        .into_iter()
        .filter(|identity| call.client.identity.as_ref() != Some(identity))
        .filter(|identity| {
            let client = Client::meshed(Arc::clone(identity), None);
            let let_in = |policies: &Policies| call.judge_as(policies, &client).is_let_in();
            let_in(call.policies) && !let_in(&after)
        })
        .collect();
    if others.is_empty() {
        return None;
    }
    let server =
        candidate.put.iter().find(|object| object.kind == Kind::Server).or_else(|| call.server_object())?;
    let (objects, namespace) = (call.policies.objects(), call.namespace());
    let words = [&*server.key.name, "callers"];
    let kind = Kind::MeshTLSAuthentication;
    let callers =
        new(kind, &namespace, free_name(objects, kind, &namespace, &words), json!({"identities": others}));
    let kind = Kind::AuthorizationPolicy;
    let spec = json!({"targetRef": reference(server), "requiredAuthenticationRefs": [reference(&callers)]});
    let policy = new(kind, &namespace, free_name(objects, kind, &namespace, &words), spec);
    let mut kept = candidate.clone();
    kept.text = format!("{} Those that call now stay let in by name ({}).", candidate.text, others.len());
    kept.edits += 4;
    kept.put.extend([callers, policy]);
    Some(kept)
}

/// The identities on edges to the workload that calls flow on now.
fn calling(call: Call<'_>) -> BTreeSet<Text> {
    let node = Node::Workload(call.endpoint.workload.clone());
    let edges = query::edges::to(call.mesh.graph, call.mesh.index, &node);
    let flows = |id: &crate::id::EdgeId| call.mesh.metrics.get(id).is_some_and(|row| row.active());
    edges
        .into_iter()
        .filter(|(id, _)| flows(id))
        .filter_map(|(_, edge)| edge.client_identity.clone())
        .collect()
}

// --- where no policy is enforced ---

/// What lets policy be enforced, and denies.
pub(super) fn by_enforcing(call: Call<'_>) -> Option<Flip> {
    let workload = call.endpoint.workload;
    let deny = "config.linkerd.io/default-inbound-policy: deny";
    let mut template = Template::clone(call.endpoint.template);
    let mut annotations = (*template.annotations).clone();
    annotations.insert("config.linkerd.io/default-inbound-policy".into(), "deny".into());
    let text = match call.verdict.reasons.first()? {
        Reason::TargetNotMeshed if template.host_network => return None,
        Reason::TargetNotMeshed => {
            template.proxy = true;
            format!("Put {workload} in the mesh with linkerd.io/inject: enabled and {deny} on its pods.")
        }
        Reason::PortSkipped { ports } => {
            annotations.remove("config.linkerd.io/skip-inbound-ports");
            format!(
                "Take port {} out of config.linkerd.io/skip-inbound-ports (`{ports}`) of {workload}, and set {deny}.",
                call.endpoint.port
            )
        }
        Reason::Server { origin: Origin::Default(_), .. } => {
            format!("Set the annotation {deny} on the pods of {workload}.")
        }
        _ => return None,
    };
    template.annotations = Arc::new(annotations);
    let verdict: Verdict = call.judge_at(call.policies, call.client, &template);
    (verdict.decision == Decision::Deny).then(|| Flip {
        text: format!(
            "{text} It then denies everybody whom no Server and authorization let in, on every port."
        ),
        becomes: Decision::Deny,
        put: Vec::new(),
        removes: Vec::new(),
    })
}
