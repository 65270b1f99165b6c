//! Who else a change lets in or shuts out: all known workloads of the mesh, and clients of no name, on every port
//! whose answer differs after it.

use super::{Call, Candidate, Client, Policies, Request, Server};
use crate::{
    fact::Key,
    id::{Source, Text, WorkloadId},
    kind::Kind,
    policy::{
        ask::{Caller, Endpoint, all_endpoints},
        spec::{self, AuthorizationPolicySpec, Required},
    },
    query::{self, Node},
};
use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    net::IpAddr,
};

/// The most clients that are looked at; those that call now come first.
const MAX_CLIENTS: usize = 10_000;
/// The most times that a client is held against a port: some milliseconds.
const MAX_LOOKS: usize = 200_000;
/// The most names in one sentence.
const MAX_NAMES: usize = 5;

/// A client that may be concerned.
pub(super) struct Known {
    name: Text,
    client: Client,
}

/// Everybody that is looked at.
pub(super) struct Everybody {
    clients: Vec<Known>,
    /// There are more than that.
    more: bool,
}

/// What a change does besides what it is for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Effects {
    /// Others that are let in.
    let_in: Names,
    /// Others, or the client elsewhere, that are no longer.
    pub(super) shut_out: Names,
    /// Ports where the client itself is let in as well.
    opened: Names,
    /// Some clients or ports were too many to look at.
    in_part: bool,
}

/// Who is concerned, each once, in no order: only a few of what may be thousands are ever shown. A name, and the port
/// where it is another than the call's.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names(HashSet<(Text, Option<Text>), ahash::RandomState>);

/// The clients that may be concerned: those that call the workload now, then all others.
pub(super) fn known(call: Call<'_>) -> Everybody {
    let mesh = call.mesh;
    let edges = query::edges::to(mesh.graph, mesh.index, &Node::Workload(call.endpoint.workload.clone()));
    let calling = edges.into_iter().filter_map(|(_, edge)| match &edge.src {
        Source::Workload(id) => Some(id),
        Source::Identity(_) | Source::Unmeshed(_) => None,
    });
    let mut everybody = Everybody { clients: nameless(), more: false };
    let mut seen: HashSet<&WorkloadId, ahash::RandomState> = HashSet::default();
    let mut clients: HashSet<(Option<Text>, Option<IpAddr>), ahash::RandomState> = HashSet::default();
    for id in calling.chain(mesh.graph.workloads.keys()) {
        if !seen.insert(id) {
            continue;
        }
        for appearance in Caller::Workload(id.clone()).appearances(&mesh, Some(call.endpoint.dialed)) {
            let addresses = appearance.addresses.iter().copied().map(Some);
            let unknown = appearance.addresses.is_empty().then_some(None);
            for address in addresses.chain(unknown) {
                if everybody.clients.len() >= MAX_CLIENTS {
                    everybody.more = true;
                    return everybody;
                }
                let client = appearance.client(address);
                if clients.insert((client.identity.clone(), address)) {
                    everybody.clients.push(Known { name: id.as_str().into(), client });
                }
            }
        }
    }
    everybody
}

/// Clients that no workload stands for.
fn nameless() -> Vec<Known> {
    let other = "anybody.elsewhere.serviceaccount.identity.elsewhere.invalid";
    vec![
        Known { name: "clients outside the mesh at any address".into(), client: Client::unmeshed(None) },
        Known { name: "mesh clients of any DNS identity".into(), client: Client::meshed(other, None) },
    ]
}

/// Compares the ports that the candidate bears on, before and after.
pub(super) fn of(call: Call<'_>, everybody: &Everybody, after: &Policies, candidate: &Candidate) -> Effects {
    let before = call.mesh.policies;
    let mut effects = Effects { in_part: everybody.more, ..Effects::default() };
    let mut compared = 0;
    let mut ports = vec![call.endpoint];
    for namespace in namespaces(call, candidate) {
        let more = all_endpoints(&call.mesh, Some(&namespace)).into_iter();
        ports.extend(more.filter(|port| !same_port(port, &call.endpoint)));
    }
    for port in ports {
        let key = port.key();
        let target = port.template.target(&key);
        if !target.is_enforced(port.port) {
            continue;
        }
        let servers = (before.server(target, port.port), after.server(target, port.port));
        if servers.0 == servers.1 {
            continue;
        }
        compared += 1;
        if compared > 1 && compared * everybody.clients.len() > MAX_LOOKS {
            effects.in_part = true;
            break;
        }
        effects.compare(call, everybody, &port, (&servers.0, &servers.1));
    }
    effects
}

fn same_port(a: &Endpoint<'_>, b: &Endpoint<'_>) -> bool {
    a.workload == b.workload && a.port == b.port && a.template.first == b.template.first
}

/// The namespaces whose ports a change may bear on.
fn namespaces(call: Call<'_>, candidate: &Candidate) -> BTreeSet<Text> {
    let mut namespaces: BTreeSet<Text> = candidate.removes.iter().map(|id| id.namespace().into()).collect();
    for object in &candidate.put {
        namespaces.insert(object.key.namespace.clone());
        let parents = spec::parents_of(&object.spec, &object.key.namespace);
        namespaces.extend(parents.into_iter().map(|parent| parent.namespace));
        if matches!(object.kind, Kind::MeshTLSAuthentication | Kind::NetworkAuthentication) {
            namespaces.extend(users(call, object.kind, &object.key).into_iter().map(|user| user.namespace));
        }
    }
    namespaces
}

/// The AuthorizationPolicies that ask for an authentication.
pub(super) fn users(call: Call<'_>, kind: Kind, key: &Key) -> Vec<Key> {
    let wanted = match kind {
        Kind::NetworkAuthentication => Required::Network(key.clone()),
        _ => Required::MeshTls(key.clone()),
    };
    let policies = call.policies.objects().all(Kind::AuthorizationPolicy);
    policies
        .filter(|policy| {
            AuthorizationPolicySpec::read(&policy.spec, &policy.key.namespace)
                .is_ok_and(|spec| spec.required.contains(&wanted))
        })
        .map(|policy| policy.key.clone())
        .collect()
}

// === impl Effects ===

impl Effects {
    pub(super) fn is_for_the_client_alone(&self) -> bool {
        self.let_in.is_empty() && self.opened.is_empty() && !self.in_part
    }

    fn compare(&mut self, call: Call<'_>, all: &Everybody, port: &Endpoint<'_>, servers: (&Server, &Server)) {
        let here = same_port(port, &call.endpoint);
        let at: Text = format!("{}:{}", port.workload, port.port).into();
        let elsewhere = (!here).then_some(&at);
        // About connections, and on the port itself about the request too.
        let requests = [None, call.request.filter(|_| here)];
        let asked = if requests[1].is_some() { 2 } else { 1 };
        for request in requests.into_iter().take(asked) {
            let (before, after) = (Gate::of(servers.0, request), Gate::of(servers.1, request));
            for known in &all.clients {
                let own = is_same(&known.client, call);
                match (before.lets_in(&known.client), after.lets_in(&known.client)) {
                    (false, true) if own && !here => self.opened.add(&at, None),
                    (false, true) if !own => self.let_in.add(&known.name, elsewhere),
                    (true, false) if !(own && here) => self.shut_out.add(&known.name, elsewhere),
                    _ => {}
                }
            }
        }
    }
}

/// Proxies cannot tell clients of one identity apart, nor unmeshed ones at one address.
fn is_same(client: &Client, call: Call<'_>) -> bool {
    match (&client.identity, &call.client.identity) {
        (Some(identity), Some(own)) => identity == own,
        (None, None) => client
            .address
            .is_some_and(|address| call.client.address == Some(address) || call.addresses.contains(&address)),
        _ => false,
    }
}

/// Who is let in at a port, ready for many clients.
struct Gate<'a>(Vec<&'a crate::policy::answer::Authorization>);

// === impl Gate ===

impl<'a> Gate<'a> {
    fn of(server: &'a Server, request: Option<&Request>) -> Self {
        Self(server.admitting(request).unwrap_or_default())
    }

    fn lets_in(&self, client: &Client) -> bool {
        client.is_local() || self.0.iter().any(|row| client.passes(row).is_ok())
    }
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.opened.is_empty() {
            write!(f, " The client is then let in at {} too.", self.opened)?;
        }
        if !self.let_in.is_empty() {
            write!(f, " It also lets in {}.", self.let_in)?;
        }
        if !self.shut_out.is_empty() {
            write!(f, " It also shuts out {}.", self.shut_out)?;
        }
        if self.in_part {
            write!(f, " The mesh is too large to say for all whom else it concerns.")?;
        }
        Ok(())
    }
}

// === impl Names ===

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, name: &Text, at: Option<&Text>) {
        self.0.insert((name.clone(), at.cloned()));
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<&(Text, Option<Text>)> = self.0.iter().collect();
        query::edges::first(&mut all, MAX_NAMES, Ord::cmp);
        let mut shown: Vec<String> =
            all.iter().take(MAX_NAMES).map(|(name, at)| concerned(name, at)).collect();
        if all.len() > MAX_NAMES {
            shown.push(format!("{} more", all.len() - MAX_NAMES));
        }
        match shown.split_last() {
            Some((last, [])) => f.write_str(last),
            Some((last, first)) => write!(f, "{} and {last}", first.join(", ")),
            None => Ok(()),
        }
    }
}

fn concerned(name: &str, at: &Option<Text>) -> String {
    match at {
        Some(at) => format!("{name} at {at}"),
        None => name.to_owned(),
    }
}
