//! What clients are told: where tokens for us are to be had (RFC 9728), and what was missing (RFC 6750 §3).

use super::{Fault, Resource, claims};
use axum::{Json, Router, routing::get};
use http::{HeaderValue, header};
use reqwest::Url;
use serde_json::{Value, json};
use std::sync::Arc;

/// Where the document is; each has a row in [`crate::rights::table::TABLE`].
pub(crate) const PATHS: [&str; 2] =
    ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"];

/// Seconds for which clients need not ask again.
const KEPT: HeaderValue = HeaderValue::from_static("max-age=300");

/// What a refused client is told in `WWW-Authenticate`. Cloning shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The parameters that are always there.
    parameters: Arc<str>,
}

/// The document.
pub(crate) fn document(audience: &str, issuer: &str, scopes: &[String]) -> Value {
    let mut document = json!({
        "resource": audience,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": "linkerd-mcp",
    });
    if !scopes.is_empty() {
        document["scopes_supported"] = json!(scopes);
    }
    document
}

/// Answers with the document, to anybody: it says what the operator has set up for clients, and nothing of the mesh.
pub(crate) fn routes(resource: &Resource) -> Router {
    let document = resource.document().clone();
    let answer = move || {
        let document = document.clone();
        // Clients that are web pages read it too.
        let headers = [
            (header::CACHE_CONTROL, KEPT),
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        ];
        async move { (headers, Json(document)) }
    };
    PATHS.iter().fold(Router::new(), |routes, path| routes.route(path, get(answer.clone())))
}

// === impl Challenge ===

impl Challenge {
    /// For the resource at this URL. The path of the document is the one that belongs to ours (RFC 9728 §3.1), and where an
    /// ingress shows us at another path, the one without: the Ingress leads that to us too.
    pub(crate) fn new(resource: &Url, scopes: &[String]) -> Self {
        let path = if resource.path() == crate::mcp::PATH { PATHS[1] } else { PATHS[0] };
        let mut document = resource.clone();
        document.set_path(path);
        // A parsed URL has no quotes, and a scope neither.
        let mut parameters = format!("resource_metadata=\"{document}\"");
        if !scopes.is_empty() {
            parameters = format!("{parameters}, scope=\"{}\"", scopes.join(" "));
        }
        Self { parameters: parameters.into() }
    }

    /// The header's value. Who brought no token is told no error (RFC 6750 §3.1).
    pub(crate) fn header(&self, fault: &Fault) -> HeaderValue {
        let parameters = &self.parameters;
        let text = match fault {
            Fault::Missing => format!("Bearer {parameters}"),
            Fault::Bearer(_) => format!("Bearer error=\"invalid_request\", {parameters}"),
            Fault::Claims(claims::Fault::Scope) => {
                format!("Bearer error=\"insufficient_scope\", {parameters}")
            }
            Fault::Token(_) | Fault::Claims(_) => format!("Bearer error=\"invalid_token\", {parameters}"),
        };
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}
