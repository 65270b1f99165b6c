//! What is written held against what is enforced: our answer for a port and that of Linkerd's policy controller.
//!
//! ```text
//! objects ─► Policies ─► Answer ────────┐
//!                                       ├─► Drift: differences, both sides as JSON
//! InboundServerPolicies.GetPort ─► Answer ┘
//! ```
//!
//! Order never counts: the controller sends authorizations in none, and the rest means the same in any. The one
//! exception is left out on purpose: of two routes that match a request equally well the proxy takes the first, and the
//! controller sorts routes by age and name as we do.

use super::answer::{
    Answer, Authentication, Authorization, Clients, Labels, Metadata, Protocol, RateLimit, Route, Server,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};

/// Differences between two answers for one port, and the answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// What differs; empty when nothing does.
    pub differences: Vec<Difference>,
    /// Our answer, from the objects, in the form of the recordings.
    pub written: Value,
    /// The controller's answer in the same form.
    pub enforced: Value,
}

/// One difference. As text it is a sentence; as JSON it carries both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// Only one of the two has an answer, or the reasons for having none differ.
    Status {
        /// `ok`, `not_found` or `invalid_argument`, from the objects.
        written: &'static str,
        /// The same from the controller.
        enforced: &'static str,
    },
    /// Another Server, or a default policy in the place of a Server.
    Server {
        /// By the objects.
        written: Labels,
        /// By the controller.
        enforced: Labels,
    },
    /// Another protocol.
    Protocol {
        /// `detect`, `http1`, `http2`, `grpc`, `opaque` or `tls`, by the objects.
        written: &'static str,
        /// The same by the controller.
        enforced: &'static str,
    },
    /// The proxy waits longer or shorter for the first bytes.
    DetectTimeout {
        /// Milliseconds, by the objects.
        written_ms: u64,
        /// Milliseconds, by the controller.
        enforced_ms: u64,
    },
    /// The controller names addresses to serve on, which we do not know it to do.
    ServerAddresses {
        /// How many we expect.
        written: u32,
        /// How many it names.
        enforced: u32,
    },
    /// An authorization follows from the objects, and the controller does not enforce it.
    AuthorizationNotEnforced {
        /// Where it should be.
        on: Place,
        /// The authorization.
        authorization: Metadata,
    },
    /// The controller enforces an authorization that follows from no object.
    AuthorizationStillEnforced {
        /// Where it is.
        on: Place,
        /// The authorization.
        authorization: Metadata,
    },
    /// An authorization that both have lets in other clients.
    Authorization {
        /// Where it is.
        on: Place,
        /// The authorization.
        authorization: Metadata,
        /// `networks`, `authentication` or `labels`, or `count` when there are more under that name on one side.
        field: &'static str,
        /// By the objects.
        written: Value,
        /// By the controller.
        enforced: Value,
    },
    /// A route follows from the objects, and the controller does not attach it.
    RouteNotEnforced {
        /// The route.
        route: Metadata,
    },
    /// The controller attaches a route that follows from no object.
    RouteStillEnforced {
        /// The route.
        route: Metadata,
    },
    /// A route that both have takes other requests.
    Route {
        /// The route.
        route: Metadata,
        /// `hosts` or `rules`, or `count` when there are more under that name on one side.
        field: &'static str,
        /// By the objects.
        written: Value,
        /// By the controller.
        enforced: Value,
    },
    /// Another rate limit, or one on one side only.
    RateLimit {
        /// By the objects; null for none.
        written: Value,
        /// By the controller; null for none.
        enforced: Value,
    },
}

/// What an authorization is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The port itself.
    Server,
    /// One of its routes.
    Route(Metadata),
}

// === impl Drift ===

impl Drift {
    /// Compares our answer with the controller's.
    pub fn between(written: &Answer, enforced: &Answer) -> Self {
        Self {
            differences: differences(written, enforced),
            written: to_json(written),
            enforced: to_json(enforced),
        }
    }

    /// True when nothing differs.
    pub fn is_none(&self) -> bool {
        self.differences.is_empty()
    }
}

/// An answer as `{"status": …, "server": …}`; `server` only where there is one.
pub fn to_json(answer: &Answer) -> Value {
    match answer.server() {
        Some(server) => json!({ "status": answer.status(), "server": server }),
        None => json!({ "status": answer.status() }),
    }
}

/// All differences between our answer and the controller's, in a stable order.
pub fn differences(written: &Answer, enforced: &Answer) -> Vec<Difference> {
    match (written, enforced) {
        (Answer::Ok(written), Answer::Ok(enforced)) => between_servers(written, enforced),
        (written, enforced) if written.status() == enforced.status() => Vec::new(),
        (written, enforced) => {
            vec![Difference::Status { written: written.status(), enforced: enforced.status() }]
        }
    }
}

fn between_servers(written: &Server, enforced: &Server) -> Vec<Difference> {
    let mut found = Vec::new();
    if written == enforced {
        return found;
    }
    if written.labels != enforced.labels {
        found.push(Difference::Server { written: written.labels.clone(), enforced: enforced.labels.clone() });
    }
    if written.server_ips != enforced.server_ips {
        let (written, enforced) = (written.server_ips, enforced.server_ips);
        found.push(Difference::ServerAddresses { written, enforced });
    }
    between_protocols(&written.protocol, &enforced.protocol, &mut found);
    between_authorizations(&Place::Server, &written.authorizations, &enforced.authorizations, &mut found);
    found
}

/// Routes are compared wherever both sides have routes of one sort: HTTP/1 against detection is one difference, not
/// one for each route as well.
fn between_protocols(written: &Protocol, enforced: &Protocol, found: &mut Vec<Difference>) {
    if written.kind() != enforced.kind() {
        found.push(Difference::Protocol { written: written.kind(), enforced: enforced.kind() });
    }
    if let (Protocol::Detect { timeout_ms: ours, .. }, Protocol::Detect { timeout_ms: theirs, .. }) =
        (written, enforced)
        && ours != theirs
    {
        found.push(Difference::DetectTimeout { written_ms: *ours, enforced_ms: *theirs });
    }
    match (http(written), http(enforced)) {
        (Some((ours, our_limit)), Some((theirs, their_limit))) => {
            between_routes(ours, theirs, found);
            let (written, enforced) = (rate_limit(our_limit), rate_limit(their_limit));
            if written != enforced {
                found.push(Difference::RateLimit { written, enforced });
            }
        }
        _ => {
            if let (Protocol::Grpc { grpc_routes: ours }, Protocol::Grpc { grpc_routes: theirs }) =
                (written, enforced)
            {
                between_routes(ours, theirs, found);
            }
        }
    }
}

type Http<'a> = (&'a [super::answer::HttpRoute], Option<&'a RateLimit>);

fn http(protocol: &Protocol) -> Option<Http<'_>> {
    match protocol {
        Protocol::Detect { http_routes, rate_limit, .. }
        | Protocol::Http1 { http_routes, rate_limit }
        | Protocol::Http2 { http_routes, rate_limit } => Some((http_routes, rate_limit.as_deref())),
        Protocol::Grpc { .. } | Protocol::Opaque {} | Protocol::Tls {} => None,
    }
}

/// Entries of both sides by what they stand for. Nothing forbids two of one name, so each name has a list.
fn by_metadata<'a, T>(
    written: &'a [T],
    enforced: &'a [T],
    metadata: impl Fn(&'a T) -> &'a Metadata,
) -> BTreeMap<&'a Metadata, (Vec<&'a T>, Vec<&'a T>)> {
    let mut both: BTreeMap<&Metadata, (Vec<&T>, Vec<&T>)> = BTreeMap::new();
    for entry in written {
        both.entry(metadata(entry)).or_default().0.push(entry);
    }
    for entry in enforced {
        both.entry(metadata(entry)).or_default().1.push(entry);
    }
    both
}

fn between_authorizations(
    on: &Place,
    written: &[Authorization],
    enforced: &[Authorization],
    found: &mut Vec<Difference>,
) {
    for (name, sides) in by_metadata(written, enforced, |authorization| &authorization.metadata) {
        let (on, authorization) = (on.clone(), name.clone());
        match (sides.0.as_slice(), sides.1.as_slice()) {
            (_, []) => found.push(Difference::AuthorizationNotEnforced { on, authorization }),
            ([], _) => found.push(Difference::AuthorizationStillEnforced { on, authorization }),
            (ours, theirs) => {
                let fields = ["networks", "authentication", "labels"];
                let differing = fields_differ(fields, ours, theirs, authorization_field);
                found.extend(differing.into_iter().map(|(field, written, enforced)| {
                    let (on, authorization) = (on.clone(), authorization.clone());
                    Difference::Authorization { on, authorization, field, written, enforced }
                }));
            }
        }
    }
}

fn between_routes<M: Serialize>(written: &[Route<M>], enforced: &[Route<M>], found: &mut Vec<Difference>) {
    for (name, sides) in by_metadata(written, enforced, |route| &route.metadata) {
        let route = name.clone();
        match (sides.0.as_slice(), sides.1.as_slice()) {
            (_, []) => found.push(Difference::RouteNotEnforced { route }),
            ([], _) => found.push(Difference::RouteStillEnforced { route }),
            (ours, theirs) => {
                for (field, written, enforced) in fields_differ(["hosts", "rules"], ours, theirs, route_field)
                {
                    found.push(Difference::Route { route: route.clone(), field, written, enforced });
                }
                let all = |side: &[&Route<M>]| -> Vec<Authorization> {
                    side.iter().flat_map(|route| route.authorizations.iter().cloned()).collect()
                };
                between_authorizations(&Place::Route(route), &all(ours), &all(theirs), found);
            }
        }
    }
}

/// The fields in which entries of one name differ. Several of one name are compared field by field, each as a set.
fn fields_differ<T, const N: usize>(
    fields: [&'static str; N],
    written: &[&T],
    enforced: &[&T],
    field_of: impl Fn(&T, &str) -> Value,
) -> Vec<(&'static str, Value, Value)> {
    if written.len() != enforced.len() {
        return vec![("count", json!(written.len()), json!(enforced.len()))];
    }
    let side = |entries: &[&T], field| match entries {
        [one] => field_of(one, field),
        several => in_order(several.iter().map(|entry| field_of(entry, field)).collect()),
    };
    let both = fields.into_iter().map(|field| (field, side(written, field), side(enforced, field)));
    both.filter(|(_, written, enforced)| written != enforced).collect()
}

// === what order does not change ===

/// Values in one order, each once, whatever order they came in.
fn in_order(mut values: Vec<Value>) -> Value {
    values.sort_by_cached_key(Value::to_string);
    values.dedup();
    Value::Array(values)
}

fn sorted(value: &mut Value) {
    if let Value::Array(values) = value.take() {
        *value = in_order(values);
    }
}

fn authorization_field(authorization: &Authorization, field: &str) -> Value {
    match field {
        "networks" => in_order(
            authorization
                .networks
                .iter()
                .map(|network| {
                    let mut network = json!(network);
                    sorted(&mut network["except"]);
                    network
                })
                .collect(),
        ),
        "authentication" => match &authorization.authentication {
            Authentication::MeshTls(Clients::Identities { identities, suffixes }) => {
                let identities = in_order(identities.iter().map(|identity| json!(identity)).collect());
                let suffixes = in_order(suffixes.iter().map(|suffix| json!(suffix)).collect());
                json!({ "mesh_tls": { "identities": identities, "suffixes": suffixes } })
            }
            other => json!(other),
        },
        _ => json!(authorization.labels),
    }
}

/// Filters keep their order: they are applied one after the other.
fn route_field<M: Serialize>(route: &Route<M>, field: &str) -> Value {
    match field {
        "hosts" => in_order(route.hosts.iter().map(|host| json!(host)).collect()),
        _ => in_order(
            route
                .rules
                .iter()
                .map(|rule| {
                    let matches = rule.matches.iter().map(|matching| {
                        let mut matching = json!(matching);
                        for list in ["headers", "query_params"] {
                            if let Some(list) = matching.get_mut(list) {
                                sorted(list);
                            }
                        }
                        matching
                    });
                    json!({ "matches": in_order(matches.collect()), "filters": rule.filters })
                })
                .collect(),
        ),
    }
}

fn rate_limit(limit: Option<&RateLimit>) -> Value {
    let mut limit = json!(limit);
    if let Some(overrides) = limit.get_mut("overrides") {
        if let Value::Array(overrides) = &mut *overrides {
            overrides.iter_mut().for_each(|one| sorted(&mut one["identities"]));
        }
        sorted(overrides);
    }
    limit
}

// === impl Difference ===

impl Difference {
    /// The kind as in JSON: one of few words, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Server { .. } => "server",
            Self::Protocol { .. } => "protocol",
            Self::DetectTimeout { .. } => "detect_timeout",
            Self::ServerAddresses { .. } => "server_addresses",
            Self::AuthorizationNotEnforced { .. } => "authorization_not_enforced",
            Self::AuthorizationStillEnforced { .. } => "authorization_still_enforced",
            Self::Authorization { .. } => "authorization",
            Self::RouteNotEnforced { .. } => "route_not_enforced",
            Self::RouteStillEnforced { .. } => "route_still_enforced",
            Self::Route { .. } => "route",
            Self::RateLimit { .. } => "rate_limit",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { written, enforced } => {
                write!(
                    f,
                    "by the objects {}, but for Linkerd's policy controller {}",
                    Self::meaning(written),
                    Self::meaning(enforced)
                )
            }
            Self::Server { written, enforced } => {
                write!(
                    f,
                    "{} should decide about the port, but {} is enforced",
                    server(written),
                    server(enforced)
                )
            }
            Self::Protocol { written, enforced } => {
                write!(f, "protocol differs: {written} is written, {enforced} is enforced")
            }
            Self::DetectTimeout { written_ms, enforced_ms } => write!(
                f,
                "the time to detect the protocol differs: {written_ms} ms expected, {enforced_ms} ms enforced"
            ),
            Self::ServerAddresses { written, enforced } => write!(
                f,
                "the controller limits the port to {enforced} addresses, and {written} were expected"
            ),
            Self::AuthorizationNotEnforced { on, authorization } => {
                write!(f, "authorization {authorization} is written but not enforced on {on}")
            }
            Self::AuthorizationStillEnforced { on, authorization } => {
                write!(f, "the controller still enforces {authorization} on {on}, which no object says")
            }
            Self::Authorization { on, authorization, field, written, enforced } => write!(
                f,
                "authorization {authorization} on {on} differs in {field}: {written} is written, {enforced} is enforced"
            ),
            Self::RouteNotEnforced { route } => {
                write!(f, "route {route} is written but not enforced")
            }
            Self::RouteStillEnforced { route } => {
                write!(f, "the controller still enforces route {route}, which no object says")
            }
            Self::Route { route, field, written, enforced } => {
                write!(f, "route {route} differs in {field}: {written} is written, {enforced} is enforced")
            }
            Self::RateLimit { written, enforced } => match (written, enforced) {
                (Value::Null, enforced) => {
                    write!(f, "the controller still enforces the rate limit {enforced}, which no object says")
                }
                (written, Value::Null) => write!(f, "rate limit {written} is written but not enforced"),
                (written, enforced) => {
                    write!(f, "rate limits differ: {written} is written, {enforced} is enforced")
                }
            },
        }
    }
}

impl Difference {
    fn meaning(status: &str) -> &'static str {
        match status {
            "ok" => "the port has a policy",
            "not_found" => "there is no such workload in the mesh",
            _ => "there is no such port",
        }
    }
}

fn server(labels: &Labels) -> String {
    match &*labels.kind {
        "default" => format!("default policy {}", labels.name),
        kind => format!("{kind} {}", labels.name),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("the port"),
            Self::Route(route) => write!(f, "route {route}"),
        }
    }
}

#[cfg(test)]
mod tests;
