//! May this client make this call? What the target's proxy decides, and which objects made it so.

use super::{
    answer::{Authorization, Metadata, Protocol, Route, Server},
    cluster::PolicyCluster,
    policies::{Policies, Target, WorkloadKey},
    ports::Ports,
    probe,
};
use crate::{
    fact::Proxy,
    facts::Facts,
    id::{PolicyId, Text},
    kind::Kind,
};
use serde::Serialize;

mod client;
mod reason;
mod request;

pub use client::{Client, Refusal};
pub use reason::{Origin, Reason};
pub use request::Request;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is let in.
    Allow,
    /// It is refused: HTTP 403, gRPC PermissionDenied, or the connection is closed.
    Deny,
    /// It is let in, logged and counted, and nothing but an `audit` policy does so.
    Audit,
    /// No route of the Server takes it: HTTP 404, whoever asks.
    UnmatchedRoute,
}

/// A decision and its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What happens.
    pub decision: Decision,
    /// Why, in the order in which the proxy comes to them. Never empty.
    pub reasons: Vec<Reason>,
}

/// Why there is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// The target does not exist.
    #[error("there is no pod {0}")]
    NoPod(crate::fact::Key),
    /// The target does not exist.
    #[error("there is no ExternalWorkload {0}")]
    NoExternalWorkload(crate::fact::Key),
}

/// Decides a call. Reads the policies of the target's namespace anew; ask [`Policies`] for many calls.
///
/// # Errors
/// When the target does not exist.
pub fn check_access(
    facts: &Facts,
    cluster: &PolicyCluster,
    client: &Client,
    target: &WorkloadKey,
    port: u16,
    request: Option<&Request>,
) -> Result<Verdict, Unanswerable> {
    let key = target.key();
    let found = Target::find(facts, target).ok_or_else(|| match target {
        WorkloadKey::Pod(_) => Unanswerable::NoPod(key.clone()),
        WorkloadKey::ExternalWorkload(_) => Unanswerable::NoExternalWorkload(key.clone()),
    })?;
    Ok(Policies::of_namespace(facts, cluster, &key.namespace).check_access(client, found, port, request))
}

// === impl Policies ===

impl Policies {
    /// Decides a call to a port of a workload.
    ///
    /// Without a request the answer is about a connection that is not HTTP. On ports that speak HTTP alone, where
    /// there is no such thing, it is about any request: what lets in only some of them counts as [`Decision::Deny`],
    /// and the reasons name the routes that do.
    pub fn check_access(
        &self,
        client: &Client,
        target: Target<'_>,
        port: u16,
        request: Option<&Request>,
    ) -> Verdict {
        if client.is_local() {
            return Verdict::certain(Decision::Allow, Reason::Loopback);
        }
        if !has_proxy(target) {
            return Verdict::certain(Decision::Allow, Reason::TargetNotMeshed);
        }
        if let Some(ports) = skipped(target, port) {
            return Verdict::certain(Decision::Allow, Reason::PortSkipped { ports });
        }
        let server = self.server(target, port);
        let namespace = &target.key().namespace;
        let mut call = Call { client, namespace, server: &server, reasons: Vec::new() };
        call.because_server();
        if &*server.labels.kind == "server" {
            let shadowed = self.servers_selecting(&target, port).skip(1);
            call.reasons.extend(shadowed.map(|name| Reason::Shadowed {
                server: PolicyId::new(Kind::Server.policy_prefix(), namespace, name),
            }));
        }
        let decision = call.decide(request);
        Verdict { decision, reasons: call.reasons }
    }
}

impl Target<'_> {
    /// True when a proxy judges calls to the port.
    pub fn is_enforced(&self, port: u16) -> bool {
        has_proxy(*self) && skipped(*self, port).is_none()
    }
}

/// A pod whose label says so counts, too: manifests are often written without the proxy that the injector adds.
fn has_proxy(target: Target<'_>) -> bool {
    match target {
        Target::Pod(pod) => (pod.proxy != Proxy::Absent || target.in_mesh()) && !pod.host_network,
        Target::ExternalWorkload(_) => true,
        Target::Template(_, template) => {
            template.external || ((template.proxy || target.in_mesh()) && !template.host_network)
        }
    }
}

/// The annotation, where it lets the port bypass the proxy.
fn skipped(target: Target<'_>, port: u16) -> Option<Text> {
    let text = target.workload().annotations.get("config.linkerd.io/skip-inbound-ports")?;
    if target.workload().external {
        return None;
    }
    text.parse::<Ports>().is_ok_and(|ports| ports.contains(port)).then(|| text.clone())
}

/// One call on its way through the proxy.
struct Call<'a> {
    client: &'a Client,
    namespace: &'a Text,
    server: &'a Server,
    reasons: Vec<Reason>,
}

// === impl Call ===

impl Call<'_> {
    fn because_server(&mut self) {
        let origin = self.server.origin(self.namespace);
        self.reasons.push(Reason::Server { origin, protocol: self.server.protocol.kind() });
    }

    fn decide(&mut self, request: Option<&Request>) -> Decision {
        match &self.server.protocol {
            Protocol::Opaque {} | Protocol::Tls {} => self.authorize(&[]),
            Protocol::Detect { http_routes, rate_limit, .. } => {
                let decision = match request {
                    Some(request) => self.http(http_routes, request),
                    None => self.authorize(&[]),
                };
                self.because_routes(request, http_routes, decision);
                self.because_limit(rate_limit.as_deref(), decision)
            }
            Protocol::Http1 { http_routes, rate_limit } | Protocol::Http2 { http_routes, rate_limit } => {
                let decision = match request {
                    Some(request) => self.http(http_routes, request),
                    None => self.authorize(&[]),
                };
                self.because_routes(request, http_routes, decision);
                self.because_limit(rate_limit.as_deref(), decision)
            }
            Protocol::Grpc { grpc_routes } => {
                if let Some(route) = grpc_routes.iter().find(|route| is_unreadable(route)) {
                    let route = self.origin(&route.metadata);
                    self.reasons.push(Reason::InvalidRoute { route });
                    return Decision::Deny;
                }
                let decision = match request {
                    Some(request) => self.http(grpc_routes, request),
                    None => self.authorize(&[]),
                };
                self.because_routes(request, grpc_routes, decision);
                decision
            }
        }
    }

    /// Finds the request's route, then who may use it: the route's own authorizations and the server's.
    fn http<M: request::Match>(&mut self, routes: &[Route<M>], request: &Request) -> Decision {
        let Some(route) = request::find(routes, request) else {
            let routes = routes.iter().map(|route| self.origin(&route.metadata)).collect();
            self.reasons.push(Reason::NoRoute { routes });
            return Decision::UnmatchedRoute;
        };
        let origin = self.origin(&route.metadata);
        self.reasons.push(Reason::Route { route: origin });
        self.authorize(&route.authorizations)
    }

    fn authorize(&mut self, on_route: &[Authorization]) -> Decision {
        let all = || on_route.iter().chain(self.server.authorizations.iter());
        let passing: Vec<&Authorization> = all().filter(|row| self.client.passes(row).is_ok()).collect();
        let (decision, reasons) = if passing.is_empty() {
            let refused = all().filter_map(|row| Some((row, self.client.passes(row).err()?)));
            let reasons: Vec<_> = refused
                .map(|(row, because)| Reason::Refuses { authorization: self.origin(&row.metadata), because })
                .collect();
            let none = reasons.is_empty().then_some(Reason::NoAuthorization);
            (Decision::Deny, reasons.into_iter().chain(none).collect::<Vec<_>>())
        } else {
            let audit = passing.iter().all(|row| is_audit(row));
            let admits = |row: &&Authorization| Reason::Admits { authorization: self.origin(&row.metadata) };
            let decision = if audit { Decision::Audit } else { Decision::Allow };
            (decision, passing.iter().map(admits).collect())
        };
        self.reasons.extend(reasons);
        decision
    }

    /// What remains open when nothing is known of the request.
    fn because_routes<M>(&mut self, request: Option<&Request>, routes: &[Route<M>], decision: Decision) {
        if request.is_some() {
            return;
        }
        let is_default = |route: &Route<M>| route.metadata == Metadata::default_named(probe::DEFAULT);
        match decision {
            Decision::Deny => {
                let admitting: Vec<_> = routes
                    .iter()
                    .flat_map(|route| route.authorizations.iter().map(move |row| (&route.metadata, row)))
                    .filter(|(_, row)| self.client.passes(row).is_ok())
                    .map(|(route, row)| Reason::RouteAdmits {
                        route: self.origin(route),
                        authorization: self.origin(&row.metadata),
                    })
                    .collect();
                self.reasons.extend(admitting);
            }
            _ if !routes.iter().any(is_default) => self.reasons.push(Reason::RouteNeeded),
            _ => {}
        }
    }

    fn because_limit(&mut self, limit: Option<&super::answer::RateLimit>, decision: Decision) -> Decision {
        if let Some(limit) = limit.filter(|_| decision != Decision::Deny) {
            let limit = self.origin(&limit.metadata);
            self.reasons.push(Reason::RateLimit { limit });
        }
        decision
    }

    fn origin(&self, metadata: &Metadata) -> Origin {
        origin(self.namespace, metadata)
    }
}

/// The object of a workload's namespace that a part of its answer stands for, or the default.
pub fn origin(namespace: &str, metadata: &Metadata) -> Origin {
    match metadata {
        Metadata::Default { default } => Origin::Default(default.clone()),
        Metadata::Resource { group, kind, name } => {
            Origin::Object(PolicyId::new(&prefix(group, kind), namespace, name))
        }
    }
}

// === impl Server ===

impl Server {
    /// The Server, or the default policy, in a workload's namespace.
    pub fn origin(&self, namespace: &str) -> Origin {
        match &*self.labels.kind {
            "default" => Origin::Default(self.labels.name.clone()),
            kind => Origin::Object(PolicyId::new(kind, namespace, &self.labels.name)),
        }
    }

    /// The authorizations one of which must let a client in; `None` when the proxy refuses everybody, because it
    /// cannot read a route or because no route takes the request.
    pub(crate) fn admitting(&self, request: Option<&Request>) -> Option<Vec<&Authorization>> {
        let on_route = match (&self.protocol, request) {
            (Protocol::Grpc { .. }, _) if is_closed(self) => return None,
            (Protocol::Opaque {} | Protocol::Tls {}, _) | (_, None) => None,
            (
                Protocol::Detect { http_routes, .. }
                | Protocol::Http1 { http_routes, .. }
                | Protocol::Http2 { http_routes, .. },
                Some(request),
            ) => Some(&request::find(http_routes, request)?.authorizations),
            (Protocol::Grpc { grpc_routes }, Some(request)) => {
                Some(&request::find(grpc_routes, request)?.authorizations)
            }
        };
        let on_route = on_route.into_iter().flat_map(|authorizations| authorizations.iter());
        Some(on_route.chain(self.authorizations.iter()).collect())
    }
}

/// True when a match asks for headers alone: the proxy cannot read that, and refuses everything on the port.
fn is_unreadable(route: &Route<super::answer::GrpcMatch>) -> bool {
    route.rules.iter().flat_map(|rule| &rule.matches).any(|matching| matching.rpc.is_none())
}

/// A decision on a client without reasons, for many clients at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Quick<'a> {
    /// The same that [`Policies::check_access`] comes to without a request.
    pub decision: Decision,
    /// What lets the client in.
    pub by: Vec<&'a Authorization>,
    /// The routes on which alone it is let in.
    pub only_routes: Vec<&'a Metadata>,
}

impl Client {
    /// Decides on connections of this client to a port.
    pub fn decide<'a>(&self, server: &'a Server) -> Quick<'a> {
        let refused = Quick { decision: Decision::Deny, by: Vec::new(), only_routes: Vec::new() };
        if self.is_local() {
            return Quick { decision: Decision::Allow, ..refused };
        }
        if is_closed(server) {
            return refused;
        }
        let by: Vec<&Authorization> =
            server.authorizations.iter().filter(|row| self.passes(row).is_ok()).collect();
        if !by.is_empty() {
            return Quick { decision: decision_of(by.iter().copied()), by, ..refused };
        }
        let mut refused = refused;
        for (route, authorizations) in server.routes() {
            let passing: Vec<_> = authorizations.iter().filter(|row| self.passes(row).is_ok()).collect();
            if !passing.is_empty() {
                refused.only_routes.push(route);
                refused.by.extend(passing);
            }
        }
        refused
    }
}

/// What becomes of a client that these authorizations let in.
pub(crate) fn decision_of<'a>(passing: impl Iterator<Item = &'a Authorization>) -> Decision {
    let mut audit = None;
    for row in passing {
        audit = Some(audit.unwrap_or(true) && is_audit(row));
    }
    match audit {
        None => Decision::Deny,
        Some(true) => Decision::Audit,
        Some(false) => Decision::Allow,
    }
}

/// True when a match on headers alone makes the proxy refuse everything on a gRPC port.
pub(crate) fn is_closed(server: &Server) -> bool {
    let Protocol::Grpc { grpc_routes } = &server.protocol else { return false };
    grpc_routes.iter().any(is_unreadable)
}

fn is_audit(authorization: &Authorization) -> bool {
    authorization.metadata == Metadata::default_named("audit")
}

/// The first part of a policy's id; HTTPRoute is the kind that two groups have.
fn prefix(group: &str, kind: &str) -> String {
    match kind {
        "HTTPRoute" => format!("httproute.{group}"),
        kind => kind.to_ascii_lowercase(),
    }
}

// === impl Verdict ===

impl Verdict {
    fn certain(decision: Decision, reason: Reason) -> Self {
        Self { decision, reasons: vec![reason] }
    }

    /// True when the call is let in, audited or not.
    pub fn is_let_in(&self) -> bool {
        matches!(self.decision, Decision::Allow | Decision::Audit)
    }

    /// The objects and defaults that the reasons name, each once, in their order.
    pub fn origins(&self) -> Vec<Origin> {
        let mut origins: Vec<Origin> = Vec::new();
        for origin in self.reasons.iter().flat_map(Reason::origins) {
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        origins
    }
}

#[cfg(test)]
mod tests;
