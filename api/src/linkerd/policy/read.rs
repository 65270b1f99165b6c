//! The policy controller's message about a port, as [`graph::policy::answer`](crate::graph::policy::answer) has it.

use super::super::read::{ReadError, port};
use crate::graph::{
    id::Text,
    policy::{
        Pattern,
        answer::{
            Authentication, Authorization, Clients, Filter, GrpcMatch, GrpcRoute, HeaderModifier, Host,
            HttpMatch, HttpRoute, Labels, Metadata, Network, Override, PathMatch, PathModifier, Protocol,
            RateLimit, Redirect, Rpc, Rule, Server, Value, ValueMatch,
        },
    },
};
use linkerd2_proxy_api::{grpc_route, http_route, http_types, inbound, meta, net};
use std::{collections::HashMap, sync::Arc};

type Read<T> = Result<T, ReadError>;

pub(super) fn server(server: inbound::Server) -> Read<Server> {
    let protocol = server.protocol.and_then(|protocol| protocol.kind);
    Ok(Server {
        labels: labels(&server.labels),
        protocol: read_protocol(protocol.ok_or(ReadError::Missing("the protocol"))?)?,
        authorizations: authorizations(server.authorizations)?,
        server_ips: u32::try_from(server.server_ips.len()).unwrap_or(u32::MAX),
    })
}

fn read_protocol(kind: inbound::proxy_protocol::Kind) -> Read<Protocol> {
    use inbound::proxy_protocol::Kind;
    Ok(match kind {
        Kind::Detect(detect) => Protocol::Detect {
            timeout_ms: milliseconds(detect.timeout.ok_or(ReadError::Missing("the time for detection"))?)?,
            http_routes: all(detect.http_routes, http_route)?.into(),
            rate_limit: detect.http_local_rate_limit.map(rate_limit).transpose()?,
        },
        Kind::Http1(http) => Protocol::Http1 {
            http_routes: all(http.routes, http_route)?.into(),
            rate_limit: http.local_rate_limit.map(rate_limit).transpose()?,
        },
        Kind::Http2(http) => Protocol::Http2 {
            http_routes: all(http.routes, http_route)?.into(),
            rate_limit: http.local_rate_limit.map(rate_limit).transpose()?,
        },
        Kind::Grpc(grpc) => Protocol::Grpc { grpc_routes: all(grpc.routes, grpc_route)?.into() },
        Kind::Opaque(_) => Protocol::Opaque {},
        Kind::Tls(_) => Protocol::Tls {},
    })
}

fn milliseconds(duration: prost_types::Duration) -> Read<u64> {
    let milliseconds =
        duration.seconds.saturating_mul(1_000).saturating_add(i64::from(duration.nanos) / 1_000_000);
    u64::try_from(milliseconds)
        .map_err(|_| ReadError::Number { what: "duration", number: milliseconds.unsigned_abs() })
}

fn all<P, T>(messages: Vec<P>, read: impl Fn(P) -> Read<T>) -> Read<Vec<T>> {
    messages.into_iter().map(read).collect()
}

fn texts(messages: Vec<String>) -> Vec<Text> {
    messages.into_iter().map(Text::from).collect()
}

// === names ===

/// Labels that are not set are empty, as in the objects of the core group.
fn labels(labels: &HashMap<String, String>) -> Labels {
    let label = |name| labels.get(name).map(String::as_str).unwrap_or_default().into();
    Labels { group: label("group"), kind: label("kind"), name: label("name") }
}

/// Everything it stands for is in the workload's namespace, and the controller leaves namespace, section and port unset.
fn metadata(metadata: Option<meta::Metadata>) -> Read<Metadata> {
    match metadata.and_then(|metadata| metadata.kind).ok_or(ReadError::Missing("the metadata of a part"))? {
        meta::metadata::Kind::Default(name) => Ok(Metadata::Default { default: name.into() }),
        meta::metadata::Kind::Resource(resource) => Ok(Metadata::Resource {
            group: resource.group.into(),
            kind: resource.kind.into(),
            name: resource.name.into(),
        }),
    }
}

// === authorizations ===

/// Ordered by their metadata: the controller sends them in no order.
fn authorizations(messages: Vec<inbound::Authz>) -> Read<Arc<[Authorization]>> {
    let mut authorizations = all(messages, authorization)?;
    authorizations.sort_by(|a, b| a.metadata.cmp(&b.metadata));
    Ok(authorizations.into())
}

fn authorization(authz: inbound::Authz) -> Read<Authorization> {
    use inbound::authn::Permit;
    let permit = authz.authentication.and_then(|authentication| authentication.permit);
    Ok(Authorization {
        metadata: metadata(authz.metadata)?,
        labels: labels(&authz.labels),
        networks: all(authz.networks, network)?.into(),
        authentication: match permit.ok_or(ReadError::Missing("an authorization's authentication"))? {
            Permit::Unauthenticated(_) => Authentication::Unauthenticated {},
            Permit::MeshTls(mesh_tls) => Authentication::MeshTls(clients(mesh_tls.clients)?),
        },
    })
}

fn clients(clients: Option<inbound::authn::permit_mesh_tls::Clients>) -> Read<Clients> {
    use inbound::authn::permit_mesh_tls::Clients as Message;
    Ok(match clients.ok_or(ReadError::Missing("the clients of mesh TLS"))? {
        Message::Unauthenticated(_) => Clients::any(),
        Message::Identities(permitted) => Clients::Identities {
            identities: permitted.identities.into_iter().map(|identity| identity.name.into()).collect(),
            suffixes: permitted.suffixes.into_iter().map(|suffix| texts(suffix.parts)).collect(),
        },
    })
}

fn network(network: inbound::Network) -> Read<Network> {
    let whole = network.net.ok_or(ReadError::Missing("an authorization's network"))?;
    let wrong = |error: net::InvalidIpNetwork| ReadError::Address(Arc::new(error));
    Ok(Network {
        net: whole.try_into().map_err(wrong)?,
        except: all(network.except, |except| except.try_into().map_err(wrong))?,
    })
}

// === rate limits ===

fn rate_limit(limit: inbound::HttpLocalRateLimit) -> Read<Arc<RateLimit>> {
    Ok(Arc::new(RateLimit {
        metadata: metadata(limit.metadata)?,
        total: limit.total.map(|limit| limit.requests_per_second),
        identity: limit.identity.map(|limit| limit.requests_per_second),
        overrides: all(limit.overrides, |one| {
            let limit = one.limit.ok_or(ReadError::Missing("the limit of a rate limit's override"))?;
            let clients = one.clients.map(|clients| clients.identities).unwrap_or_default();
            Ok(Override {
                requests_per_second: limit.requests_per_second,
                identities: clients.into_iter().map(|identity| identity.name.into()).collect(),
            })
        })?,
    }))
}

// === routes ===

fn http_route(route: inbound::HttpRoute) -> Read<HttpRoute> {
    Ok(HttpRoute {
        metadata: metadata(route.metadata)?,
        hosts: all(route.hosts, host)?,
        rules: all(route.rules, |rule| {
            Ok(Rule { matches: all(rule.matches, http_match)?, filters: all(rule.filters, http_filter)? })
        })?,
        authorizations: authorizations(route.authorizations)?,
    })
}

fn grpc_route(route: inbound::GrpcRoute) -> Read<GrpcRoute> {
    Ok(GrpcRoute {
        metadata: metadata(route.metadata)?,
        hosts: all(route.hosts, host)?,
        rules: all(route.rules, |rule| {
            Ok(Rule { matches: all(rule.matches, grpc_match)?, filters: all(rule.filters, grpc_filter)? })
        })?,
        authorizations: authorizations(route.authorizations)?,
    })
}

fn host(host: http_route::HostMatch) -> Read<Host> {
    use http_route::host_match::Match;
    Ok(match host.r#match.ok_or(ReadError::Missing("a route's host"))? {
        Match::Exact(name) => Host::Exact(name.into()),
        Match::Suffix(suffix) => Host::SuffixReverseLabels(texts(suffix.reverse_labels)),
    })
}

fn http_match(matching: http_route::HttpRouteMatch) -> Read<HttpMatch> {
    Ok(HttpMatch {
        path: matching.path.map(path_match).transpose()?,
        headers: all(matching.headers, header_match)?,
        query_params: all(matching.query_params, query_param_match)?,
        method: matching.method.map(method).transpose()?,
    })
}

/// A match on headers alone has no `rpc`; the proxy cannot read it, we can.
fn grpc_match(matching: grpc_route::GrpcRouteMatch) -> Read<GrpcMatch> {
    let rpc = matching.rpc.map(|rpc| Rpc { service: rpc.service.into(), method: rpc.method.into() });
    Ok(GrpcMatch { rpc, headers: all(matching.headers, header_match)? })
}

fn path_match(path: http_route::PathMatch) -> Read<PathMatch> {
    use http_route::path_match::Kind;
    Ok(match path.kind.ok_or(ReadError::Missing("a route's path"))? {
        Kind::Exact(path) => PathMatch::Exact(path.into()),
        Kind::Prefix(path) => PathMatch::Prefix(path.into()),
        Kind::Regex(path) => PathMatch::Regex(pattern(path)?),
    })
}

fn header_match(header: http_route::HeaderMatch) -> Read<ValueMatch> {
    use http_route::header_match::Value as Message;
    let value = match header.value.ok_or(ReadError::Missing("the value of a header to match"))? {
        Message::Exact(value) => Value::Exact(text(value)?),
        Message::Regex(value) => Value::Regex(pattern(value)?),
    };
    Ok(ValueMatch { name: header.name.into(), value })
}

fn query_param_match(param: http_route::QueryParamMatch) -> Read<ValueMatch> {
    use http_route::query_param_match::Value as Message;
    let value = match param.value.ok_or(ReadError::Missing("the value of a query parameter to match"))? {
        Message::Exact(value) => Value::Exact(value.into()),
        Message::Regex(value) => Value::Regex(pattern(value)?),
    };
    Ok(ValueMatch { name: param.name.into(), value })
}

fn pattern(pattern: String) -> Read<Pattern> {
    pattern.parse().map_err(|error| ReadError::Pattern { pattern, source: Arc::new(error) })
}

fn text(bytes: Vec<u8>) -> Read<Text> {
    String::from_utf8(bytes).map(Text::from).map_err(|_| ReadError::Text("the value of a header"))
}

fn method(method: http_types::HttpMethod) -> Read<Text> {
    use http_types::http_method::{Registered, Type};
    Ok(match method.r#type.ok_or(ReadError::Missing("a route's method"))? {
        Type::Unregistered(method) => method.into(),
        Type::Registered(number) => {
            let method = Registered::try_from(number)
                .map_err(|_| ReadError::Number { what: "method", number: number.unsigned_abs().into() })?;
            method.as_str_name().into()
        }
    })
}

// === filters ===

fn http_filter(filter: inbound::http_route::Filter) -> Read<Filter> {
    use inbound::http_route::filter::Kind;
    match filter.kind.ok_or(ReadError::Missing("a route's filter"))? {
        Kind::RequestHeaderModifier(modifier) => header_modifier(modifier),
        Kind::Redirect(to) => redirect(to).map(Filter::Redirect),
        Kind::FailureInjector(_) => Err(ReadError::Unknown("injected failures")),
    }
}

fn grpc_filter(filter: inbound::grpc_route::Filter) -> Read<Filter> {
    use inbound::grpc_route::filter::Kind;
    match filter.kind.ok_or(ReadError::Missing("a route's filter"))? {
        Kind::RequestHeaderModifier(modifier) => header_modifier(modifier),
        Kind::FailureInjector(_) => Err(ReadError::Unknown("injected failures")),
    }
}

fn header_modifier(modifier: http_route::RequestHeaderModifier) -> Read<Filter> {
    let headers = |headers: Option<http_types::Headers>| {
        let headers = headers.map(|headers| headers.headers).unwrap_or_default();
        all(headers, |header| Ok((Text::from(header.name), text(header.value)?)))
    };
    Ok(Filter::RequestHeaderModifier(HeaderModifier {
        add: headers(modifier.add)?,
        set: headers(modifier.set)?,
        remove: texts(modifier.remove),
    }))
}

fn redirect(redirect: http_route::RequestRedirect) -> Read<Redirect> {
    use http_route::path_modifier::Replace;
    let path =
        redirect.path.map(|path| match path.replace.ok_or(ReadError::Missing("a redirect's path"))? {
            Replace::Full(path) => Ok(PathModifier::Full(path.into())),
            Replace::Prefix(path) => Ok(PathModifier::Prefix(path.into())),
        });
    Ok(Redirect {
        scheme: redirect.scheme.map(scheme).transpose()?,
        host: redirect.host.into(),
        path: path.transpose()?,
        port: port(redirect.port)?,
        status: u16::try_from(redirect.status)
            .map_err(|_| ReadError::Number { what: "HTTP status", number: redirect.status.into() })?,
    })
}

fn scheme(scheme: http_types::Scheme) -> Read<Text> {
    use http_types::scheme::{Registered, Type};
    Ok(match scheme.r#type.ok_or(ReadError::Missing("a redirect's scheme"))? {
        Type::Unregistered(scheme) => scheme.into(),
        Type::Registered(number) => {
            let scheme = Registered::try_from(number)
                .map_err(|_| ReadError::Number { what: "scheme", number: number.unsigned_abs().into() })?;
            scheme.as_str_name().into()
        }
    })
}
