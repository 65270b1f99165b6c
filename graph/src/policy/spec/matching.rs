//! Matches of HTTPRoutes and GRPCRoutes.

use super::Fault;
use crate::{
    id::Text,
    policy::{
        answer::{GrpcMatch, HttpMatch, PathMatch, Rpc, Value, ValueMatch},
        pattern::Pattern,
    },
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawHttp {
    path: Option<RawPath>,
    headers: Option<Vec<RawValue>>,
    query_params: Option<Vec<RawValue>>,
    method: Option<Method>,
}

#[derive(Deserialize)]
pub(super) struct RawGrpc {
    headers: Option<Vec<RawValue>>,
    method: Option<RawRpc>,
}

#[derive(Deserialize)]
struct RawPath {
    r#type: Option<PathType>,
    value: Option<Text>,
}

#[derive(Deserialize)]
enum PathType {
    Exact,
    PathPrefix,
    RegularExpression,
}

#[derive(Deserialize)]
struct RawValue {
    r#type: Option<ValueType>,
    name: Text,
    value: Text,
}

#[derive(Deserialize)]
enum ValueType {
    Exact,
    RegularExpression,
}

#[derive(Deserialize)]
struct RawRpc {
    r#type: Option<ValueType>,
    service: Option<Text>,
    method: Option<Text>,
}

/// The methods that the Gateway API knows.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

// === impl RawHttp ===

impl RawHttp {
    pub(super) fn read(self) -> Result<HttpMatch, Fault> {
        Ok(HttpMatch {
            path: self.path.map(RawPath::read).transpose()?,
            headers: headers(self.headers)?,
            query_params: self
                .query_params
                .into_iter()
                .flatten()
                .map(RawValue::read)
                .collect::<Result<_, _>>()?,
            method: self.method.map(|method| method.name().into()),
        })
    }
}

// === impl RawGrpc ===

impl RawGrpc {
    pub(super) fn read(self) -> Result<GrpcMatch, Fault> {
        let rpc = match self.method {
            Some(RawRpc { r#type: Some(ValueType::RegularExpression), .. }) => {
                return Err(Fault::MethodPattern);
            }
            Some(RawRpc { service, method, .. }) => {
                Some(Rpc { service: service.unwrap_or_default(), method: method.unwrap_or_default() })
            }
            None => None,
        };
        Ok(GrpcMatch { rpc, headers: headers(self.headers)? })
    }
}

fn headers(raw: Option<Vec<RawValue>>) -> Result<Vec<ValueMatch>, Fault> {
    raw.into_iter().flatten().map(RawValue::read_header).collect()
}

// === impl RawPath ===

impl RawPath {
    fn read(self) -> Result<PathMatch, Fault> {
        let value = self.value.unwrap_or_else(|| "/".into());
        match self.r#type {
            Some(PathType::RegularExpression) => pattern(&value).map(PathMatch::Regex),
            _ if !value.starts_with('/') => Err(Fault::RelativePath(value.to_string())),
            Some(PathType::Exact) => Ok(PathMatch::Exact(value)),
            Some(PathType::PathPrefix) | None => Ok(PathMatch::Prefix(value)),
        }
    }
}

// === impl RawValue ===

impl RawValue {
    fn read(self) -> Result<ValueMatch, Fault> {
        let value = match self.r#type {
            Some(ValueType::RegularExpression) => Value::Regex(pattern(&self.value)?),
            Some(ValueType::Exact) | None => Value::Exact(self.value),
        };
        Ok(ValueMatch { name: self.name, value })
    }

    fn read_header(self) -> Result<ValueMatch, Fault> {
        let name = header_name(&self.name)?;
        let matching = self.read()?;
        if let Value::Exact(value) = &matching.value {
            header_value(value)?;
        }
        Ok(ValueMatch { name, ..matching })
    }
}

// === impl Method ===

impl Method {
    fn name(&self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, Fault> {
    text.parse().map_err(|error| Fault::Pattern(text.to_owned(), error))
}

/// The name in lower case, as proxies compare it.
pub(super) fn header_name(name: &str) -> Result<Text, Fault> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !name.is_empty() && name.bytes().all(token) {
        true => Ok(name.to_ascii_lowercase().into()),
        false => Err(Fault::Header(name.to_owned())),
    }
}

/// Refuses control characters.
pub(super) fn header_value(value: &Text) -> Result<Text, Fault> {
    let allowed = |byte: u8| byte == b'\t' || (byte >= 32 && byte != 127);
    if value.bytes().all(allowed) { Ok(value.clone()) } else { Err(Fault::Header(value.to_string())) }
}
