//! What is missing for the calls that are seen.

use super::{
    Wanted,
    seen::{Called, Seen},
};
use crate::{
    change::{Edit, trial::users},
    fact::{Key, PolicyObject, Probe},
    id::{Text, WorkloadId, service_account},
    kind::Kind,
    model::Workload,
    policy::{
        PolicyCluster,
        answer::Protocol,
        ask::{Mesh, all_endpoints},
        flip::{free_name, new, reference},
        selector::tells_pods_apart,
    },
    query,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The labels by which workloads are usually told apart, the best first.
const USUAL: [&str; 5] = ["app.kubernetes.io/instance", "app.kubernetes.io/name", "app", "k8s-app", "name"];

/// The longest name of a workload that stands in the names of what is made for it: a port and a word come after it.
const LONGEST: usize = 45;

/// The objects of a proposal.
#[derive(Default)]
pub(super) struct Made {
    authentications: Vec<Edit>,
    policies: Vec<Edit>,
    servers: BTreeMap<Key, Edit>,
    /// What the proposal cannot do, as sentences.
    pub(super) obstacles: Vec<String>,
    /// Ports that get a Server which has not audited them before.
    pub(super) unaudited: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Makes what is missing for the calls of one workload.
pub(super) fn make(
    mesh: &Mesh<'_>,
    wanted: &Wanted,
    scope: &BTreeSet<&WorkloadId>,
    seen: &Seen<'_>,
    made: &mut Made,
) {
    for (port, called) in &seen.ports {
        let Some(server) = server(mesh, wanted, scope, seen, (*port, called), made) else { continue };
        let base = base(scope, seen.id, *port);
        if !called.identities.is_empty() {
            let identities = identities(&called.identities, mesh.policies.cluster());
            authorize(mesh, &server, &base, Kind::MeshTLSAuthentication, identities, made);
        }
        if called.unmeshed && !wanted.networks.is_empty() {
            let networks: Vec<Value> =
                wanted.networks.iter().map(|network| json!({"cidr": network.to_string()})).collect();
            let base = format!("{base}-networks");
            authorize(mesh, &server, &base, Kind::NetworkAuthentication, json!({"networks": networks}), made);
            made.notes.push(format!(
                "{}:{port} lets in everybody from the named networks, with a mesh identity or without.",
                seen.id
            ));
        }
    }
}

/// The name of what is made for a port. Names of Kubernetes may be long, and two kinds of workloads may share one.
fn base(scope: &BTreeSet<&WorkloadId>, id: &WorkloadId, port: u16) -> String {
    let twin = scope.iter().any(|other| *other != id && other.name() == id.name());
    match (id.name().len() > LONGEST, twin) {
        (false, false) => format!("{}-{port}", id.name()),
        _ => {
            let head: String = id.name().chars().take(LONGEST - 9).collect();
            format!("{head}-{:08x}-{port}", crate::wire::fnv1a(id.as_str().as_bytes()) as u32)
        }
    }
}

// --- Servers ---

/// The Server of a port, there or new.
fn server(
    mesh: &Mesh<'_>,
    wanted: &Wanted,
    scope: &BTreeSet<&WorkloadId>,
    seen: &Seen<'_>,
    (port, called): (u16, &Called),
    made: &mut Made,
) -> Option<PolicyObject> {
    let held = &called.server.labels;
    if &*held.kind == "server" {
        let key = Key::new(seen.id.namespace(), &*held.name);
        let object = mesh.policies.objects().policy(Kind::Server, &key)?;
        adjust(mesh, wanted, scope, object, made);
        return Some(PolicyObject::clone(object));
    }
    let place = format!("{}:{port}", seen.id);
    let Some((selector, labels)) = selector(mesh, seen.id, seen.workload) else {
        made.obstacles.push(format!(
            "{place} gets no Server: no labels tell the pods of {} from others in the namespace. Give them a label of \
             their own.",
            seen.id
        ));
        return None;
    };
    let templates = &seen.workload.templates;
    let shuts_out = |probes: &[Probe]| shuts_probes_out(&called.server.protocol, probes, port);
    if templates.iter().any(|template| shuts_out(&template.probes)) {
        made.obstacles.push(format!("{place} cannot be closed: {}.", probed(&place)));
        if !wanted.audit {
            return None;
        }
    }
    let protocol = match called.server.protocol {
        Protocol::Opaque {} => "opaque",
        _ => "unknown",
    };
    let access = access(wanted, &held.name, &place, made);
    let spec = json!({
        selector: {"matchLabels": labels},
        "port": port,
        "proxyProtocol": protocol,
        "accessPolicy": access,
    });
    let namespace = seen.id.namespace();
    let name = free_name(mesh.policies.objects(), Kind::Server, namespace, &[&base(scope, seen.id, port)]);
    let object = new(Kind::Server, namespace, name, spec);
    made.servers.insert(object.key.clone(), put(mesh, object.clone()));
    Some(object)
}

/// Only ports that speak HTTP, and no gRPC, let the kubelet in by themselves.
fn shuts_probes_out(protocol: &Protocol, probes: &[Probe], port: u16) -> bool {
    let exempt =
        matches!(protocol, Protocol::Detect { .. } | Protocol::Http1 { .. } | Protocol::Http2 { .. });
    !exempt && probes.iter().any(|probe| probe.port == port)
}

fn probed(place: &str) -> String {
    format!(
        "the kubelet probes {place}, whose protocol lets no probes in by itself, and would restart the pods; probe another port"
    )
}

/// The accessPolicy of a new Server. To audit a port that is not open to everybody would open it.
fn access<'a>(wanted: &Wanted, default: &'a str, place: &str, made: &mut Made) -> &'a str {
    match (wanted.audit, default) {
        (false, "audit") => "deny",
        (false, _) => {
            made.unaudited.push(place.to_owned());
            "deny"
        }
        (true, "all-unauthenticated" | "audit") => "audit",
        (true, default) => {
            made.notes.push(format!(
                "{place} keeps `{default}`, its default policy, and is not audited: that would open it to everybody."
            ));
            default
        }
    }
}

/// A Server that audits is closed when the proposal is to be enforced. Any other stays as somebody made it.
fn adjust(
    mesh: &Mesh<'_>,
    wanted: &Wanted,
    scope: &BTreeSet<&WorkloadId>,
    object: &Arc<PolicyObject>,
    made: &mut Made,
) {
    let access = object.spec.get("accessPolicy").and_then(Value::as_str).unwrap_or("deny");
    if wanted.audit || access == "deny" || made.servers.contains_key(&object.key) {
        return;
    }
    let name = &object.key;
    if access != "audit" {
        made.obstacles.push(format!(
            "Server {name} keeps its accessPolicy `{access}`, which lets in more than what is seen; set it to `audit` \
             first, by hand."
        ));
        return;
    }
    let mut obstacle = None;
    for endpoint in all_endpoints(mesh, Some(&name.namespace)) {
        let key = endpoint.key();
        let held = mesh.policies.server(endpoint.template.target(&key), endpoint.port);
        if &*held.labels.kind != "server" || held.labels.name != name.name {
            continue;
        }
        if !scope.contains(endpoint.workload) {
            obstacle =
                Some(format!("it has ports of {} too. Ask for the whole namespace", endpoint.workload));
        } else if shuts_probes_out(&held.protocol, &endpoint.template.probes, endpoint.port) {
            obstacle = Some(probed(&format!("{}:{}", endpoint.workload, endpoint.port)));
        }
    }
    if let Some(why) = obstacle {
        let text = format!("Server {name} stays with accessPolicy `audit`: {why}.");
        if !made.obstacles.contains(&text) {
            made.obstacles.push(text);
        }
        return;
    }
    let mut spec = Value::clone(&object.spec);
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("accessPolicy".to_owned(), json!("deny"));
    }
    let object = PolicyObject { spec: Arc::new(spec), ..PolicyObject::clone(object) };
    made.servers.insert(object.key.clone(), put(mesh, object));
}

/// The selector's field and labels that select all pods of the workload and no others of its namespace.
fn selector(
    mesh: &Mesh<'_>,
    id: &WorkloadId,
    workload: &Workload,
) -> Option<(&'static str, Map<String, Value>)> {
    let external = workload.templates.first()?.external;
    let field = if external { "externalWorkloadSelector" } else { "podSelector" };
    let stable = |name: &str| !tells_pods_apart(name) && !name.starts_with("linkerd.io/");
    let own: Vec<(&Text, &Text)> = workload.labels.iter().filter(|(name, _)| stable(name)).collect();
    let usual =
        USUAL.into_iter().filter_map(|name| own.iter().find(|(own, _)| &***own == name).map(|it| vec![*it]));
    let others = || {
        query::edges::under(&mesh.graph.workloads, id.namespace(), '/')
            .filter(|(other, _)| *other != id)
            .flat_map(|(_, workload)| &workload.templates)
            .filter(|template| template.external == external)
    };
    let alone = |labels: &Vec<(&Text, &Text)>| {
        let has = |template: &crate::model::Template| {
            labels.iter().all(|(name, value)| template.labels.get(*name) == Some(value))
        };
        !labels.is_empty() && !others().any(has)
    };
    let labels = usual.chain([own.clone()]).find(alone)?;
    let labels = labels.into_iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
    Some((field, labels))
}

// --- who is let in ---

/// ServiceAccounts of this cluster by reference, so that no trust domain is written down; others by identity.
fn identities(identities: &BTreeSet<Text>, cluster: &PolicyCluster) -> Value {
    let (mut accounts, mut others) = (Vec::new(), Vec::new());
    for identity in identities {
        let own = service_account(identity)
            .filter(|(namespace, name)| cluster.identity(namespace, name) == *identity);
        match own {
            Some((namespace, name)) => {
                accounts.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
            }
            None => others.push(json!(identity)),
        }
    }
    let mut spec = Map::new();
    for (field, list) in [("identityRefs", accounts), ("identities", others)] {
        if !list.is_empty() {
            spec.insert(field.to_owned(), Value::Array(list));
        }
    }
    Value::Object(spec)
}

/// The authentication `base` with this spec, and the policy `base` that lets it in on the Server.
///
/// An authentication that an earlier proposal made is extended, unless somebody else uses it too.
fn authorize(mesh: &Mesh<'_>, server: &PolicyObject, base: &str, kind: Kind, spec: Value, made: &mut Made) {
    let (objects, namespace) = (mesh.policies.objects(), &*server.key.namespace);
    let wanted = Key::new(namespace, free_name(&crate::policy::Objects::default(), kind, namespace, &[base]));
    let target = reference(server);
    let mut own = None;
    if let (Some(known), Some(policy)) =
        (objects.policy(kind, &wanted), objects.policy(Kind::AuthorizationPolicy, &wanted))
    {
        let by = json!({"targetRef": target, "requiredAuthenticationRefs": [reference(known)]});
        let alone =
            users(mesh.policies).all(|(of, key, user)| (of, &key) != (kind, &wanted) || user == policy.key);
        own = (*policy.spec == by && alone).then(|| extended(known, &spec)).flatten();
    }
    if let Some(object) = own {
        made.authentications.push(put(mesh, object));
        return;
    }
    let authentication = new(kind, namespace, free_name(objects, kind, namespace, &[base]), spec);
    let required = [reference(&authentication)];
    let spec = json!({"targetRef": target, "requiredAuthenticationRefs": required});
    let name = free_name(objects, Kind::AuthorizationPolicy, namespace, &[base]);
    made.policies.push(put(mesh, new(Kind::AuthorizationPolicy, namespace, name, spec)));
    made.authentications.push(put(mesh, authentication));
}

/// The object with what the lists of `more` have besides its own.
fn extended(object: &PolicyObject, more: &Value) -> Option<PolicyObject> {
    let mut spec = Value::clone(&object.spec);
    let fields = spec.as_object_mut()?;
    for (field, items) in more.as_object()? {
        let list = fields.entry(field.clone()).or_insert_with(|| json!([]));
        let list = list.as_array_mut()?;
        for item in items.as_array()? {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
    }
    Some(PolicyObject { spec: Arc::new(spec), ..object.clone() })
}

fn put(mesh: &Mesh<'_>, object: PolicyObject) -> Edit {
    let before = mesh.policies.objects().policy(object.kind, &object.key).cloned();
    let created_ms = before.as_ref().and_then(|before| before.created_ms);
    let object = PolicyObject { created_ms, status: Arc::default(), ..object };
    Edit { kind: object.kind, key: object.key.clone(), before, after: Some(Arc::new(object)) }
}

// === impl Made ===

impl Made {
    /// In the order in which they should be applied: nobody is shut out before those who call are let in.
    pub(super) fn edits(&self) -> Vec<Edit> {
        let servers = self.servers.values();
        let all = self.authentications.iter().chain(&self.policies).chain(servers);
        all.filter(|edit| !edit.is_same()).cloned().collect()
    }
}
