//! What the proxy makes of an answer of the controller: is a call let in?

use super::{
    Flaw, Oracle, Workload, in_mesh, is_skipped,
    json::{list, text},
};
use ipnet::IpNet;
use regex::Regex;
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr};

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// From where.
    pub address: IpAddr,
    /// Over mesh TLS.
    pub tls: bool,
    /// The identity proven by it, if any.
    pub identity: Option<String>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Such as `GET`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Without port.
    pub host: Option<String>,
    /// Each name once.
    pub headers: Vec<(String, String)>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is let in.
    Allow,
    /// It is refused.
    Deny,
    /// It is let in by nothing but `audit`.
    Audit,
    /// No route takes it.
    UnmatchedRoute,
}

/// A decision and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What happens.
    pub decision: Decision,
    /// The authorizations that let it in: `authorizationpolicy NAME`, `serverauthorization NAME` or `default NAME`.
    pub admitted_by: BTreeSet<String>,
}

/// What one match is worth; the greatest wins.
type Worth = (usize, usize, usize, usize, usize, usize);

impl Oracle<'_> {
    /// Decides a call; `None` where there is no such workload. Without a request it is about the connection: what lets
    /// into the whole port.
    pub fn decide(
        &self,
        caller: &Caller,
        workload: &Workload,
        port: u32,
        call: Option<&Call>,
    ) -> Option<Outcome> {
        let object = self.workload(workload)?;
        // §5.5.1: from loopback always, by the authorization `localhost`, which is for these two addresses and not for
        // 127.0.0.0/8; no proxy or a skipped port, no policy.
        if ["127.0.0.1", "::1"].contains(&caller.address.to_string().as_str()) {
            return Some(Outcome::new(Decision::Allow, ["default localhost".to_owned()]));
        }
        if !in_mesh(object) || is_skipped(object, port) {
            return Some(Outcome::new(Decision::Allow, []));
        }
        let answer = self.answer(workload, port);
        let server = &answer["server"];
        let (http, grpc) = (list(server, "/protocol/http_routes"), list(server, "/protocol/grpc_routes"));
        // §5.7.15: a match without rpc makes the proxy refuse everything on the port.
        if grpc.iter().flat_map(matches_of).any(|item| item.get("rpc").is_none()) {
            return Some(Outcome::new(Decision::Deny, []));
        }
        let mut authorizations: Vec<&Value> = list(server, "/authorizations").iter().collect();
        if let (Some(call), false) = (call, http.is_empty() && grpc.is_empty()) {
            let routes = if grpc.is_empty() { http } else { grpc };
            // §5.5.6: 404, whoever asks.
            let Some(route) = self.route_for(routes, call) else {
                return Some(Outcome::new(Decision::UnmatchedRoute, []));
            };
            // README, proxy side: each route's are its own and the server's.
            if self.has(Flaw::RouteAuthorizationsAlone) && route["metadata"]["default"].is_null() {
                authorizations.clear();
            }
            authorizations.extend(list(route, "/authorizations"));
        }
        authorizations.retain(|authorization| self.admits(authorization, caller));
        let admitted_by = authorizations.into_iter().map(title);
        let admitted_by: BTreeSet<String> = admitted_by.collect();
        let decision = if admitted_by.is_empty() {
            Decision::Deny
        } else if admitted_by.iter().all(|title| title == "default audit") {
            Decision::Audit
        } else {
            Decision::Allow
        };
        Some(Outcome { decision, admitted_by })
    }

    /// §5.5.7: the address in the networks AND the authentication.
    fn admits(&self, authorization: &Value, caller: &Caller) -> bool {
        let network = list(authorization, "/networks").iter().any(|network| is_in(network, caller.address));
        let authenticated = self.authenticates(&authorization["authentication"], caller);
        if authorization["either"] == true { network || authenticated } else { network && authenticated }
    }

    /// §5.5.7 and §5.7.15: `unauthenticatedTLS` is for any TLS; exact names for any identity, letter by letter; `*` and
    /// suffixes for DNS names only.
    fn authenticates(&self, authentication: &Value, caller: &Caller) -> bool {
        if authentication.get("unauthenticated").is_some() {
            return true;
        }
        let mesh_tls = &authentication["mesh_tls"];
        if mesh_tls.get("unauthenticated").is_some() {
            return caller.tls;
        }
        let (true, Some(identity)) = (caller.tls, &caller.identity) else { return false };
        if list(mesh_tls, "/identities").iter().any(|listed| listed == identity) {
            return true;
        }
        let is_dns = !identity.starts_with("spiffe://") || self.has(Flaw::SpiffeInStar);
        is_dns
            && list(mesh_tls, "/suffixes").iter().any(|suffix| {
                let labels: Vec<&str> = list(suffix, "").iter().filter_map(Value::as_str).collect();
                labels.is_empty() || identity.ends_with(&format!(".{}", labels.join(".")))
            })
    }

    /// §5.7.15: the match of the greatest worth; among equals the first route's, first rule's.
    fn route_for<'r>(&self, routes: &'r [Value], call: &Call) -> Option<&'r Value> {
        let mut best: Option<(Worth, &Value)> = None;
        for route in routes {
            let Some(host) = host_worth(route, call) else { continue };
            for rule in list(route, "/rules") {
                for worth in self.rule_worths(rule, call, route) {
                    let worth = (host, worth.0, worth.1, worth.2, worth.3, worth.4);
                    if best.is_none_or(|(greatest, _)| worth > greatest) {
                        best = Some((worth, route));
                    }
                }
            }
        }
        best.map(|(_, route)| route)
    }

    /// README, proxy side: a rule without matches takes everything, as the prefix `/`, on gRPC Servers too.
    fn rule_worths(
        &self,
        rule: &Value,
        call: &Call,
        route: &Value,
    ) -> Vec<(usize, usize, usize, usize, usize)> {
        let is_grpc = route["metadata"]["kind"] == "GRPCRoute" || !rule["matches"][0]["rpc"].is_null();
        let matches = list(rule, "/matches");
        match (matches.is_empty(), is_grpc) {
            (true, true) => vec![(0, 0, 0, 0, 0)],
            (true, false) => vec![(0, 1, 0, 0, 0)],
            (false, true) => matches.iter().filter_map(|item| grpc_worth(item, call)).collect(),
            (false, false) => matches.iter().filter_map(|item| self.http_worth(item, call)).collect(),
        }
    }

    /// §5.7.15: length of the path, number of headers, number of query parameters, method.
    fn http_worth(&self, item: &Value, call: &Call) -> Option<(usize, usize, usize, usize, usize)> {
        let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
        let wanted = &item["path"];
        let (rank, length) = if let Some(exact) = wanted["exact"].as_str() {
            (2, (exact == path).then_some(exact.len())?)
        } else if let Some(prefix) = wanted["prefix"].as_str() {
            // Whole segments; slashes at the end are no matter.
            let prefix = if prefix == "/" { prefix } else { prefix.trim_end_matches('/') };
            let rest = if prefix == "/" { "" } else { path.trim_end_matches('/').strip_prefix(prefix)? };
            (1, (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())?)
        } else if let Some(pattern) = wanted["regex"].as_str() {
            (0, is_whole_match(pattern, path).then_some(path.len())?)
        } else {
            // As the prefix `/`, which is what the CRD fills in.
            (1, 1)
        };
        let rank = if self.has(Flaw::GatewayPrecedence) { rank } else { 0 };
        let parameters: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let (headers, wanted_parameters) = (list(item, "/headers"), list(item, "/query_params"));
        let has_headers = headers.iter().all(|wanted| has_header(call, wanted));
        let has_parameters = wanted_parameters.iter().all(|wanted| {
            parameters.iter().any(|(name, value)| text(wanted, "/name") == name && is_value(wanted, value))
        });
        let method = item.get("method");
        let has_method = method.is_none_or(|method| method == call.method.as_str());
        (has_headers && has_parameters && has_method).then_some((
            rank,
            length,
            headers.len(),
            wanted_parameters.len(),
            usize::from(method.is_some()),
        ))
    }
}

// === impl Outcome ===

impl Outcome {
    fn new<const N: usize>(decision: Decision, admitted_by: [String; N]) -> Self {
        Self { decision, admitted_by: admitted_by.into() }
    }
}

/// What an authorization is called.
fn title(authorization: &Value) -> String {
    let metadata = &authorization["metadata"];
    match metadata["default"].as_str() {
        Some(name) => format!("default {name}"),
        None => format!("{} {}", text(metadata, "/kind"), text(metadata, "/name")),
    }
}

fn is_in(network: &Value, address: IpAddr) -> bool {
    let contains = |net: &Value| {
        net.as_str().and_then(|net| net.parse::<IpNet>().ok()).is_some_and(|net| net.contains(&address))
    };
    contains(&network["net"]) && !list(network, "/except").iter().any(contains)
}

fn matches_of(route: &Value) -> impl Iterator<Item = &Value> {
    list(route, "/rules").iter().flat_map(|rule| list(rule, "/matches"))
}

/// §5.7.15: an exact host is worth more than a suffix, a longer suffix more than a shorter, any more than none.
fn host_worth(route: &Value, call: &Call) -> Option<usize> {
    let hosts = list(route, "/hosts");
    if hosts.is_empty() {
        return Some(0);
    }
    let host = call.host.as_deref()?.to_lowercase();
    hosts
        .iter()
        .filter_map(|wanted| match wanted["exact"].as_str() {
            Some(exact) => (exact.to_lowercase() == host).then_some(1_000),
            None => {
                let labels = list(wanted, "/suffix_reverse_labels").iter().rev().filter_map(Value::as_str);
                let suffix = format!(".{}", labels.collect::<Vec<_>>().join("."));
                host.ends_with(&suffix).then_some(suffix.len())
            }
        })
        .max()
}

/// Service and method of a gRPC call: a POST whose path has two segments; what comes after is not looked at.
fn rpc_of(call: &Call) -> Option<(&str, &str)> {
    let (path, _) = call.path.split_once('?').unwrap_or((&call.path, ""));
    let (service, rest) = path.strip_prefix('/')?.split_once('/')?;
    (call.method == "POST").then_some((service, rest.split('/').next().unwrap_or_default()))
}

/// §5.7.15: length of the service, of the method, number of headers; an empty one is any.
fn grpc_worth(item: &Value, call: &Call) -> Option<(usize, usize, usize, usize, usize)> {
    let (service, method) = rpc_of(call)?;
    let (wanted_service, wanted_method) = (text(item, "/rpc/service"), text(item, "/rpc/method"));
    let headers = list(item, "/headers");
    let matched = (wanted_service.is_empty() || wanted_service == service)
        && (wanted_method.is_empty() || wanted_method == method)
        && headers.iter().all(|wanted| has_header(call, wanted));
    matched.then_some((wanted_service.len(), wanted_method.len(), headers.len(), 0, 0))
}

/// Names of headers have no letter case.
fn has_header(call: &Call, wanted: &Value) -> bool {
    let name = text(wanted, "/name");
    call.headers.iter().any(|(header, value)| header.eq_ignore_ascii_case(name) && is_value(wanted, value))
}

fn is_value(wanted: &Value, value: &str) -> bool {
    match wanted["regex"].as_str() {
        Some(pattern) => is_whole_match(pattern, value),
        None => wanted["exact"] == value,
    }
}

/// README, proxy side: expressions must match the whole value.
fn is_whole_match(pattern: &str, value: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|pattern| pattern.is_match(value))
}
