//! An HTTPLocalRateLimitPolicy.

use super::{
    Fault, read,
    reference::{CORE, LINKERD, Reference},
};
use crate::{
    id::Text,
    policy::{answer::Override, cluster::PolicyCluster},
};
use serde::Deserialize;
use serde_json::Value;

/// A rate limit on a Server.
#[derive(Debug, Clone)]
pub(in crate::policy) struct RateLimitSpec {
    pub(in crate::policy) server: Text,
    pub(in crate::policy) total: Option<u32>,
    pub(in crate::policy) identity: Option<u32>,
    pub(in crate::policy) overrides: Vec<Override>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    target_ref: Reference,
    total: Option<Limit>,
    identity: Option<Limit>,
    overrides: Option<Vec<RawOverride>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    requests_per_second: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOverride {
    requests_per_second: u32,
    client_refs: Vec<Reference>,
}

// === impl RateLimitSpec ===

impl RateLimitSpec {
    pub(in crate::policy) fn read(
        spec: &Value,
        namespace: &str,
        cluster: &PolicyCluster,
    ) -> Result<Self, Fault> {
        let raw: Raw = read(spec)?;
        if !raw.target_ref.is(LINKERD, "Server") {
            return Err(Fault::Kind(raw.target_ref.kind_and_group()));
        }
        let identity = |to: &Reference| match to.is(CORE, "ServiceAccount") {
            true => Ok(cluster.identity(to.namespace.as_deref().unwrap_or(namespace), &to.name)),
            false => Err(Fault::Kind(to.kind_and_group())),
        };
        let overrides = raw.overrides.into_iter().flatten().map(|limit| {
            let identities = limit.client_refs.iter().map(identity).collect::<Result<_, _>>()?;
            Ok(Override { requests_per_second: limit.requests_per_second, identities })
        });
        Ok(Self {
            server: raw.target_ref.name.into(),
            total: raw.total.map(|limit| limit.requests_per_second),
            identity: raw.identity.map(|limit| limit.requests_per_second),
            overrides: overrides.collect::<Result<_, Fault>>()?,
        })
    }
}
