//! An AuthorizationPolicy.

use super::{
    Fault, read,
    reference::{CORE, GATEWAY, LINKERD, Reference},
};
use crate::{fact::Key, id::Text, kind::Kind};
use serde::Deserialize;
use serde_json::Value;

/// An AuthorizationPolicy whose references are of known kinds. Whether they exist is another question.
#[derive(Debug, Clone)]
pub(in crate::policy) struct AuthorizationPolicySpec {
    pub(in crate::policy) target: Target,
    pub(in crate::policy) required: Vec<Required>,
}

/// What it is about, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum Target {
    Server(Text),
    /// Every Server of the namespace, whatever name is written.
    Namespace,
    /// A route; its name matches without letter case.
    Route(Kind, Text),
}

/// One of the things that must hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) enum Required {
    MeshTls(Key),
    Network(Key),
    ServiceAccount(Key),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    target_ref: Reference,
    required_authentication_refs: Vec<Reference>,
}

// === impl AuthorizationPolicySpec ===

impl AuthorizationPolicySpec {
    pub(in crate::policy) fn read(spec: &Value, namespace: &str) -> Result<Self, Fault> {
        let raw: Raw = read(spec)?;
        let required = raw.required_authentication_refs.iter().map(|to| required(to, namespace));
        Ok(Self { target: target(&raw.target_ref)?, required: required.collect::<Result<_, _>>()? })
    }
}

fn target(to: &Reference) -> Result<Target, Fault> {
    let name: Text = to.name.as_str().into();
    if to.is(LINKERD, "Server") {
        Ok(Target::Server(name))
    } else if to.is(CORE, "Namespace") {
        Ok(Target::Namespace)
    } else if to.is(LINKERD, "HTTPRoute") {
        Ok(Target::Route(Kind::LinkerdHTTPRoute, name))
    } else if to.is(GATEWAY, "HTTPRoute") {
        Ok(Target::Route(Kind::GatewayHTTPRoute, name))
    } else if to.is(GATEWAY, "GRPCRoute") {
        Ok(Target::Route(Kind::GRPCRoute, name))
    } else {
        Err(Fault::Kind(to.kind_and_group()))
    }
}

fn required(to: &Reference, namespace: &str) -> Result<Required, Fault> {
    let key = Key::new(to.namespace.as_deref().unwrap_or(namespace), to.name.as_str());
    if to.is(LINKERD, "MeshTLSAuthentication") {
        Ok(Required::MeshTls(key))
    } else if to.is(LINKERD, "NetworkAuthentication") {
        Ok(Required::Network(key))
    } else if to.is(CORE, "ServiceAccount") {
        Ok(Required::ServiceAccount(key))
    } else {
        Err(Fault::Kind(to.kind_and_group()))
    }
}
