//! Which route takes a request, by the precedence of Linkerd's proxy. It is not the Gateway API's: host, then the
//! length of the path whatever the type of match, then the number of headers, of query parameters, then method.

use crate::{
    id::Text,
    policy::answer::{GrpcMatch, Host, HttpMatch, PathMatch, Route, Rpc, Value, ValueMatch},
};
use serde::Serialize;

/// A request to an HTTP port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Method, as in `GET`; gRPC calls are `POST`.
    pub method: Text,
    /// Path, with its query where there is one. For gRPC `/package.Service/Method`.
    pub path: Text,
    /// Host without its port. Routes with host names take no request without one.
    pub host: Option<Text>,
    /// Headers; letter case of names does not matter.
    pub headers: Vec<(Text, Text)>,
}

/// What one match of a route is worth; the greatest wins, among equals the first.
pub(super) trait Match {
    type Worth: Ord;
    /// `None` when the request is another one.
    fn worth(&self, request: &Request) -> Option<Self::Worth>;
    /// What a rule without matches is worth.
    fn any() -> Self::Worth;
}

/// The route that takes the request.
pub(super) fn find<'a, M: Match>(routes: &'a [Route<M>], request: &Request) -> Option<&'a Route<M>> {
    let worth = |route: &'a Route<M>| {
        let host = host(&route.hosts, request)?;
        let rules = route.rules.iter().filter_map(|rule| match rule.matches.is_empty() {
            true => Some(M::any()),
            false => first_greatest(rule.matches.iter().filter_map(|matching| matching.worth(request))),
        });
        Some((host, first_greatest(rules)?))
    };
    routes
        .iter()
        .filter_map(|route| Some((worth(route)?, route)))
        .reduce(|best, next| if best.0 >= next.0 { best } else { next })
        .map(|(_, route)| route)
}

fn first_greatest<T: Ord>(items: impl Iterator<Item = T>) -> Option<T> {
    items.reduce(|best, next| if best >= next { best } else { next })
}

/// No host names, a suffix of this length, or an exact one of this length; the outer `None` is no match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HostWorth {
    None,
    Suffix(usize),
    Exact(usize),
}

fn host(hosts: &[Host], request: &Request) -> Option<HostWorth> {
    if hosts.is_empty() {
        return Some(HostWorth::None);
    }
    let name = request.host.as_deref()?;
    hosts.iter().filter_map(|host| host_worth(host, name)).max()
}

/// Compares without letter case; the dot at the end of a name counts only where the route writes it.
fn host_worth(host: &Host, name: &str) -> Option<HostWorth> {
    let plain = name.strip_suffix('.').unwrap_or(name);
    match host {
        Host::Exact(exact) => {
            let name = if exact.ends_with('.') { name } else { plain };
            exact.eq_ignore_ascii_case(name).then_some(HostWorth::Exact(exact.len()))
        }
        Host::SuffixReverseLabels(labels) => {
            let name = if labels.first().is_some_and(|label| label.is_empty()) { name } else { plain };
            let mut given = name.rsplit('.');
            let all =
                labels.iter().all(|label| given.next().is_some_and(|own| own.eq_ignore_ascii_case(label)));
            let length = labels.iter().map(|label| label.len() + 1).sum();
            (all && given.next().is_some()).then_some(HostWorth::Suffix(length))
        }
    }
}

impl Match for HttpMatch {
    type Worth = (usize, usize, usize, bool);

    fn worth(&self, request: &Request) -> Option<Self::Worth> {
        if self.method.as_ref().is_some_and(|method| *method != request.method) {
            return None;
        }
        let path = match &self.path {
            Some(path) => path.length(request.path_only())?,
            None => 1,
        };
        let headers = self.headers.iter().all(|header| request.has_header(header));
        let query = self.query_params.iter().all(|parameter| request.has_parameter(parameter));
        (headers && query).then_some((
            path,
            self.headers.len(),
            self.query_params.len(),
            self.method.is_some(),
        ))
    }

    fn any() -> Self::Worth {
        (1, 0, 0, false)
    }
}

impl Match for GrpcMatch {
    type Worth = (usize, usize, usize);

    fn worth(&self, request: &Request) -> Option<Self::Worth> {
        let (service, method) = request.rpc()?;
        let Rpc { service: wanted_service, method: wanted_method } = self.rpc.as_ref()?;
        let matches = |wanted: &Text, given: &str| wanted.is_empty() || **wanted == *given;
        let rpc = matches(wanted_service, service) && matches(wanted_method, method);
        let headers = self.headers.iter().all(|header| request.has_header(header));
        (rpc && headers).then_some((wanted_service.len(), wanted_method.len(), self.headers.len()))
    }

    fn any() -> Self::Worth {
        (0, 0, 0)
    }
}

// === impl PathMatch ===

impl PathMatch {
    /// How many characters of the path it matches. A pattern matches the whole path, a prefix whole segments.
    fn length(&self, path: &str) -> Option<usize> {
        match self {
            Self::Exact(exact) => (**exact == *path).then_some(exact.len()),
            Self::Regex(pattern) => pattern.matches_all_of(path).then_some(path.len()),
            Self::Prefix(prefix) if &**prefix == "/" => Some(1),
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                let rest = path.trim_end_matches('/').strip_prefix(prefix)?;
                (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
            }
        }
    }
}

// === impl Value ===

impl Value {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Regex(pattern) => pattern.matches_all_of(text),
        }
    }
}

// === impl Request ===

impl Request {
    /// A request without host and headers.
    pub fn new(method: impl Into<Text>, path: impl Into<Text>) -> Self {
        Self { method: method.into(), path: path.into(), host: None, headers: Vec::new() }
    }

    /// A call of a gRPC method; the service with its package.
    pub fn grpc(service: &str, method: &str) -> Self {
        Self::new("POST", format!("/{service}/{method}"))
    }

    fn path_only(&self) -> &str {
        self.path.split_once('?').map_or(&*self.path, |(path, _)| path)
    }

    /// Service and method, when it can be a gRPC call at all.
    fn rpc(&self) -> Option<(&str, &str)> {
        let mut parts = self.path_only().strip_prefix('/')?.split('/');
        let (service, method) = (parts.next()?, parts.next()?);
        (&*self.method == "POST").then_some((service, method))
    }

    fn has_header(&self, header: &ValueMatch) -> bool {
        let values = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&header.name));
        values.into_iter().any(|(_, value)| header.value.matches(value))
    }

    fn has_parameter(&self, parameter: &ValueMatch) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        query.split('&').filter(|pair| !pair.is_empty()).any(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            decoded(name) == *parameter.name && parameter.value.matches(&decoded(value))
        })
    }
}

/// Undoes the encoding of forms: `+` is a space, `%41` a byte. What is not so encoded stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = match byte {
            b'%' => {
                digit(at + 1).zip(digit(at + 2)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
            }
            _ => None,
        };
        plain.push(escaped.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}
