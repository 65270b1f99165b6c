//! Filters of routes. Those that change responses mean nothing inbound and are left out; those that would send the
//! request elsewhere make the whole route unusable.

use super::{
    Fault,
    matching::{header_name, header_value},
};
use crate::{
    id::Text,
    policy::answer::{Filter, HeaderModifier, PathModifier, Redirect},
};
use serde::{Deserialize, de::IgnoredAny};

/// A filter of a Gateway API route: which field is set decides.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawGateway {
    r#type: Type,
    request_header_modifier: Option<RawModifier>,
    response_header_modifier: Option<RawModifier>,
    request_redirect: Option<RawRedirect>,
    request_mirror: Option<IgnoredAny>,
    url_rewrite: Option<IgnoredAny>,
    extension_ref: Option<IgnoredAny>,
}

/// The types that the Gateway API has; another one makes the route unreadable.
#[derive(Debug, Deserialize)]
enum Type {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestMirror,
    RequestRedirect,
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    ExtensionRef,
}

/// A filter of Linkerd's own HTTPRoute: its type decides.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum RawLinkerd {
    #[serde(rename_all = "camelCase")]
    RequestHeaderModifier { request_header_modifier: RawModifier },
    #[serde(rename_all = "camelCase")]
    ResponseHeaderModifier { response_header_modifier: RawModifier },
    #[serde(rename_all = "camelCase")]
    RequestRedirect { request_redirect: RawRedirect },
}

#[derive(Deserialize)]
pub(super) struct RawModifier {
    set: Option<Vec<RawHeader>>,
    add: Option<Vec<RawHeader>>,
    remove: Option<Vec<Text>>,
}

#[derive(Deserialize)]
struct RawHeader {
    name: Text,
    value: Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawRedirect {
    scheme: Option<Scheme>,
    hostname: Option<Text>,
    path: Option<RawPath>,
    port: Option<i32>,
    status_code: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    Http,
    Https,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPath {
    replace_full_path: Option<Text>,
    replace_prefix_match: Option<Text>,
}

// === impl RawGateway ===

impl RawGateway {
    /// The filter; `None` when it means nothing inbound.
    pub(super) fn read(self) -> Result<Option<Filter>, Fault> {
        if let Some(modifier) = self.request_header_modifier {
            return modifier.read().map(Filter::RequestHeaderModifier).map(Some);
        }
        if let Some(modifier) = self.response_header_modifier {
            return modifier.read().map(|_| None);
        }
        if let Some(redirect) = self.request_redirect {
            return redirect.read().map(Filter::Redirect).map(Some);
        }
        let name = match (&self.request_mirror, &self.url_rewrite, &self.extension_ref) {
            (Some(_), _, _) => "RequestMirror".to_owned(),
            (_, Some(_), _) => "URLRewrite".to_owned(),
            (_, _, Some(_)) => "ExtensionRef".to_owned(),
            (None, None, None) => format!("{:?} without its content", self.r#type),
        };
        Err(Fault::Filter(name))
    }

    /// The same for GRPCRoutes, which cannot redirect.
    pub(super) fn read_grpc(mut self) -> Result<Option<Filter>, Fault> {
        self.request_redirect = None;
        self.read()
    }
}

// === impl RawLinkerd ===

impl RawLinkerd {
    /// The filter; `None` when it means nothing inbound.
    pub(super) fn read(self) -> Result<Option<Filter>, Fault> {
        match self {
            Self::RequestHeaderModifier { request_header_modifier: modifier } => {
                modifier.read().map(Filter::RequestHeaderModifier).map(Some)
            }
            Self::ResponseHeaderModifier { response_header_modifier: modifier } => {
                modifier.read().map(|_| None)
            }
            Self::RequestRedirect { request_redirect: redirect } => {
                redirect.read().map(Filter::Redirect).map(Some)
            }
        }
    }
}

// === impl RawModifier ===

impl RawModifier {
    fn read(self) -> Result<HeaderModifier, Fault> {
        let remove = self.remove.into_iter().flatten();
        Ok(HeaderModifier {
            add: headers(self.add)?,
            set: headers(self.set)?,
            remove: remove.map(|name| header_name(&name)).collect::<Result<_, _>>()?,
        })
    }
}

fn headers(raw: Option<Vec<RawHeader>>) -> Result<Vec<(Text, Text)>, Fault> {
    let header = |header: RawHeader| Ok((header_name(&header.name)?, header_value(&header.value)?));
    raw.into_iter().flatten().map(header).collect()
}

// === impl RawRedirect ===

impl RawRedirect {
    fn read(self) -> Result<Redirect, Fault> {
        let status = self.status_code.unwrap_or(200);
        Ok(Redirect {
            scheme: self.scheme.map(|scheme| match scheme {
                Scheme::Http => "HTTP".into(),
                Scheme::Https => "HTTPS".into(),
            }),
            host: self.hostname.unwrap_or_default(),
            path: self.path.map(RawPath::read).transpose()?,
            port: self.port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
            status: u16::try_from(status)
                .ok()
                .filter(|status| (100..1000).contains(status))
                .ok_or(Fault::Status(status))?,
        })
    }
}

// === impl RawPath ===

impl RawPath {
    fn read(self) -> Result<PathModifier, Fault> {
        let modifier = match (self.replace_full_path, self.replace_prefix_match) {
            (Some(path), _) => PathModifier::Full(path),
            (None, Some(path)) => PathModifier::Prefix(path),
            (None, None) => return Err(Fault::Filter("RequestRedirect with an empty path".to_owned())),
        };
        match &modifier {
            PathModifier::Full(path) | PathModifier::Prefix(path) if !path.starts_with('/') => {
                Err(Fault::RelativePath(path.to_string()))
            }
            _ => Ok(modifier),
        }
    }
}
