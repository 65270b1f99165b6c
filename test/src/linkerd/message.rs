//! The policy controller's messages, made of recorded answers: the way back from the JSON to what was on the wire.
//!
//! Written by field names of the recordings and of the protobuf contract, and by nothing of ours, so that it shares no
//! mistake with what reads the messages.

use linkerd2_proxy_api::{grpc_route, http_route, http_types, inbound, meta, net};
use serde_json::Value;
use std::{collections::HashMap, net::IpAddr};

/// Not a recorded answer.
#[derive(Debug, thiserror::Error)]
#[error("no {what} can be made of {value}")]
pub struct Error {
    what: &'static str,
    value: Value,
}

type Made<T> = Result<T, Error>;

fn wrong<T>(what: &'static str, value: &Value) -> Made<T> {
    Err(Error { what, value: value.clone() })
}

fn text(value: &Value) -> Made<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| Error { what: "text", value: value.clone() })
}

fn number(value: &Value) -> Made<u32> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| Error { what: "number", value: value.clone() })
}

/// Items of a list; a field that is not there is an empty one.
fn each<T>(value: &Value, make: impl Fn(&Value) -> Made<T>) -> Made<Vec<T>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(make).collect(),
        other => wrong("list", other),
    }
}

fn some<T>(value: &Value, make: impl Fn(&Value) -> Made<T>) -> Made<Option<T>> {
    if value.is_null() { Ok(None) } else { make(value).map(Some) }
}

/// The answer about a port. Authorizations go in the reverse order of the recording: the controller has none.
///
/// # Errors
///
/// When `server` is not the `server` of a recorded answer.
pub fn server(server: &Value) -> Made<inbound::Server> {
    use inbound::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};
    let protocol = &server["protocol"];
    let http_routes = || each(&protocol["http_routes"], http_route);
    let limit = || some(&protocol["rate_limit"], rate_limit);
    let kind = match protocol["kind"].as_str() {
        Some("detect") => {
            let milliseconds = number(&protocol["timeout_ms"])?;
            let (seconds, rest) = (i64::from(milliseconds / 1_000), milliseconds % 1_000);
            let nanos = i32::try_from(rest * 1_000_000).unwrap_or_default();
            Kind::Detect(Detect {
                timeout: Some(prost_types::Duration { seconds, nanos }),
                http_routes: http_routes()?,
                http_local_rate_limit: limit()?,
            })
        }
        Some("http1") => Kind::Http1(Http1 { routes: http_routes()?, local_rate_limit: limit()? }),
        Some("http2") => Kind::Http2(Http2 { routes: http_routes()?, local_rate_limit: limit()? }),
        Some("grpc") => Kind::Grpc(Grpc { routes: each(&protocol["grpc_routes"], grpc_route)? }),
        Some("opaque") => Kind::Opaque(Opaque {}),
        Some("tls") => Kind::Tls(Tls {}),
        _ => return wrong("protocol", protocol),
    };
    let addresses =
        (0..number(&server["server_ips"])?).map(|_| net::IpAddress::from(IpAddr::from([10, 0, 0, 1])));
    Ok(inbound::Server {
        protocol: Some(inbound::ProxyProtocol { kind: Some(kind) }),
        server_ips: addresses.collect(),
        authorizations: authorizations(&server["authorizations"])?,
        labels: labels(&server["labels"])?,
    })
}

fn labels(labels: &Value) -> Made<HashMap<String, String>> {
    let Value::Object(labels) = labels else { return wrong("labels", labels) };
    labels.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect()
}

fn metadata(metadata: &Value) -> Made<Option<meta::Metadata>> {
    let kind = match metadata.get("default") {
        Some(name) => meta::metadata::Kind::Default(text(name)?),
        None => meta::metadata::Kind::Resource(meta::Resource {
            group: text(&metadata["group"])?,
            kind: text(&metadata["kind"])?,
            name: text(&metadata["name"])?,
            ..meta::Resource::default()
        }),
    };
    Ok(Some(meta::Metadata { kind: Some(kind) }))
}

// === authorizations ===

fn authorizations(list: &Value) -> Made<Vec<inbound::Authz>> {
    let mut all = each(list, authorization)?;
    all.reverse();
    Ok(all)
}

fn authorization(authorization: &Value) -> Made<inbound::Authz> {
    use inbound::authn::{
        Permit, PermitMeshTls, PermitUnauthenticated,
        permit_mesh_tls::{Clients, PermitClientIdentities},
    };
    let authentication = &authorization["authentication"];
    let permit = match authentication.get("mesh_tls") {
        None if authentication.get("unauthenticated").is_some() => {
            Permit::Unauthenticated(PermitUnauthenticated {})
        }
        None => return wrong("authentication", authentication),
        Some(clients) if clients.get("unauthenticated").is_some() => Permit::MeshTls(PermitMeshTls {
            clients: Some(Clients::Unauthenticated(PermitUnauthenticated {})),
        }),
        Some(clients) => Permit::MeshTls(PermitMeshTls {
            clients: Some(Clients::Identities(PermitClientIdentities {
                identities: each(&clients["identities"], identity)?,
                suffixes: each(&clients["suffixes"], |parts| {
                    Ok(inbound::IdentitySuffix { parts: each(parts, text)? })
                })?,
            })),
        }),
    };
    Ok(inbound::Authz {
        networks: each(&authorization["networks"], |one| {
            Ok(inbound::Network { net: Some(network(&one["net"])?), except: each(&one["except"], network)? })
        })?,
        authentication: Some(inbound::Authn { permit: Some(permit) }),
        labels: labels(&authorization["labels"])?,
        metadata: metadata(&authorization["metadata"])?,
    })
}

fn identity(name: &Value) -> Made<inbound::Identity> {
    Ok(inbound::Identity { name: text(name)? })
}

fn network(value: &Value) -> Made<net::IpNetwork> {
    let parsed = value.as_str().and_then(|network| {
        let (ip, prefix) = network.split_once('/')?;
        Some((ip.parse::<IpAddr>().ok()?, prefix.parse::<u32>().ok()?))
    });
    let (ip, prefix_len) = parsed.ok_or_else(|| Error { what: "network", value: value.clone() })?;
    Ok(net::IpNetwork { ip: Some(ip.into()), prefix_len })
}

// === rate limits ===

fn rate_limit(limit: &Value) -> Made<inbound::HttpLocalRateLimit> {
    use inbound::http_local_rate_limit::{Limit, Override, r#override::ClientIdentities};
    let of = |rate: &Value| Ok(Limit { requests_per_second: number(rate)? });
    Ok(inbound::HttpLocalRateLimit {
        metadata: metadata(&limit["metadata"])?,
        total: some(&limit["total"], of)?,
        identity: some(&limit["identity"], of)?,
        overrides: each(&limit["overrides"], |one| {
            Ok(Override {
                limit: Some(of(&one["requests_per_second"])?),
                clients: Some(ClientIdentities { identities: each(&one["identities"], identity)? }),
            })
        })?,
    })
}

// === routes ===

fn http_route(route: &Value) -> Made<inbound::HttpRoute> {
    use inbound::http_route::Rule;
    Ok(inbound::HttpRoute {
        metadata: metadata(&route["metadata"])?,
        hosts: each(&route["hosts"], host)?,
        authorizations: authorizations(&route["authorizations"])?,
        rules: each(&route["rules"], |rule| {
            Ok(Rule {
                matches: each(&rule["matches"], http_match)?,
                filters: each(&rule["filters"], http_filter)?,
            })
        })?,
    })
}

fn grpc_route(route: &Value) -> Made<inbound::GrpcRoute> {
    use inbound::grpc_route::{Filter, Rule, filter::Kind};
    let filter = |filter: &Value| {
        let modifier = header_modifier(&filter["request_header_modifier"])?;
        Ok(Filter { kind: Some(Kind::RequestHeaderModifier(modifier)) })
    };
    Ok(inbound::GrpcRoute {
        metadata: metadata(&route["metadata"])?,
        hosts: each(&route["hosts"], host)?,
        authorizations: authorizations(&route["authorizations"])?,
        rules: each(&route["rules"], |rule| {
            Ok(Rule {
                matches: each(&rule["matches"], grpc_match)?,
                filters: each(&rule["filters"], filter)?,
            })
        })?,
    })
}

fn host(host: &Value) -> Made<http_route::HostMatch> {
    use http_route::host_match::{Match, Suffix};
    let matching = match host.get("exact") {
        Some(name) => Match::Exact(text(name)?),
        None => Match::Suffix(Suffix { reverse_labels: each(&host["suffix_reverse_labels"], text)? }),
    };
    Ok(http_route::HostMatch { r#match: Some(matching) })
}

fn http_match(matching: &Value) -> Made<http_route::HttpRouteMatch> {
    Ok(http_route::HttpRouteMatch {
        path: some(matching.get("path").unwrap_or(&Value::Null), path)?,
        headers: each(matching.get("headers").unwrap_or(&Value::Null), header)?,
        query_params: each(matching.get("query_params").unwrap_or(&Value::Null), query_param)?,
        method: some(matching.get("method").unwrap_or(&Value::Null), method)?,
    })
}

fn grpc_match(matching: &Value) -> Made<grpc_route::GrpcRouteMatch> {
    Ok(grpc_route::GrpcRouteMatch {
        rpc: some(matching.get("rpc").unwrap_or(&Value::Null), |rpc| {
            Ok(grpc_route::GrpcRpcMatch { service: text(&rpc["service"])?, method: text(&rpc["method"])? })
        })?,
        headers: each(matching.get("headers").unwrap_or(&Value::Null), header)?,
    })
}

fn path(path: &Value) -> Made<http_route::PathMatch> {
    use http_route::path_match::Kind;
    let kind = match (path.get("exact"), path.get("prefix"), path.get("regex")) {
        (Some(path), None, None) => Kind::Exact(text(path)?),
        (None, Some(path), None) => Kind::Prefix(text(path)?),
        (None, None, Some(path)) => Kind::Regex(text(path)?),
        _ => return wrong("path", path),
    };
    Ok(http_route::PathMatch { kind: Some(kind) })
}

fn header(header: &Value) -> Made<http_route::HeaderMatch> {
    use http_route::header_match::Value as Message;
    let value = match header.get("exact") {
        Some(value) => Message::Exact(text(value)?.into_bytes()),
        None => Message::Regex(text(&header["regex"])?),
    };
    Ok(http_route::HeaderMatch { name: text(&header["name"])?, value: Some(value) })
}

fn query_param(param: &Value) -> Made<http_route::QueryParamMatch> {
    use http_route::query_param_match::Value as Message;
    let value = match param.get("exact") {
        Some(value) => Message::Exact(text(value)?),
        None => Message::Regex(text(&param["regex"])?),
    };
    Ok(http_route::QueryParamMatch { name: text(&param["name"])?, value: Some(value) })
}

fn method(method: &Value) -> Made<http_types::HttpMethod> {
    use http_types::http_method::{Registered, Type};
    let name = text(method)?;
    let registered = Registered::from_str_name(&name);
    let kind = registered.map_or(Type::Unregistered(name), |method| Type::Registered(method.into()));
    Ok(http_types::HttpMethod { r#type: Some(kind) })
}

// === filters ===

fn http_filter(filter: &Value) -> Made<inbound::http_route::Filter> {
    use inbound::http_route::{Filter, filter::Kind};
    let kind = match filter.get("redirect") {
        Some(to) => Kind::Redirect(redirect(to)?),
        None => Kind::RequestHeaderModifier(header_modifier(&filter["request_header_modifier"])?),
    };
    Ok(Filter { kind: Some(kind) })
}

fn header_modifier(modifier: &Value) -> Made<http_route::RequestHeaderModifier> {
    let headers = |list: &Value| {
        let headers = each(list, |pair| {
            Ok(http_types::headers::Header { name: text(&pair[0])?, value: text(&pair[1])?.into_bytes() })
        })?;
        Ok(Some(http_types::Headers { headers }))
    };
    Ok(http_route::RequestHeaderModifier {
        add: headers(&modifier["add"])?,
        set: headers(&modifier["set"])?,
        remove: each(&modifier["remove"], text)?,
    })
}

fn redirect(redirect: &Value) -> Made<http_route::RequestRedirect> {
    use http_route::path_modifier::Replace;
    Ok(http_route::RequestRedirect {
        scheme: some(&redirect["scheme"], |scheme| {
            use http_types::scheme::{Registered, Type};
            let name = text(scheme)?;
            let kind = Registered::from_str_name(&name);
            let kind = kind.map_or(Type::Unregistered(name), |scheme| Type::Registered(scheme.into()));
            Ok(http_types::Scheme { r#type: Some(kind) })
        })?,
        host: text(&redirect["host"])?,
        path: some(&redirect["path"], |path| {
            let replace = match path.get("full") {
                Some(path) => Replace::Full(text(path)?),
                None => Replace::Prefix(text(&path["prefix"])?),
            };
            Ok(http_route::PathModifier { replace: Some(replace) })
        })?,
        port: number(&redirect["port"])?,
        status: number(&redirect["status"])?,
    })
}
