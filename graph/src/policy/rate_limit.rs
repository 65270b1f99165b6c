//! The rate limit of a Server: of several the oldest holds.

use super::{
    answer::{Metadata, RateLimit},
    cluster::PolicyCluster,
    objects::Objects,
    policies::{Ignored, age},
    spec::RateLimitSpec,
    status,
};
use crate::{fact::PolicyObject, id::Text, kind::Kind};
use ahash::AHashMap;
use std::sync::Arc;

/// The limit in force on each Server of `namespace` that has one.
pub(super) fn in_force(
    objects: &Objects,
    cluster: &PolicyCluster,
    namespace: &str,
    ignored: &mut Vec<Ignored>,
) -> AHashMap<Text, Arc<RateLimit>> {
    let mut limiting: Vec<&Arc<PolicyObject>> =
        objects.policies(Kind::HTTPLocalRateLimitPolicy, namespace).collect();
    limiting.sort_by(|a, b| age(a).cmp(&age(b)));
    let mut limits = AHashMap::new();
    for object in limiting {
        match RateLimitSpec::read(&object.spec, namespace, cluster) {
            Ok(spec) => {
                if !cluster.trust_status || status::limit_accepted(&object.status).unwrap_or(true) {
                    limits.entry(spec.server.clone()).or_insert_with(|| limit(object, spec));
                }
            }
            Err(fault) => ignored.push(Ignored::new(object, fault)),
        }
    }
    limits
}

fn limit(object: &PolicyObject, spec: RateLimitSpec) -> Arc<RateLimit> {
    let row = object.kind.row();
    let metadata =
        Metadata::Resource { group: row.group.into(), kind: row.name.into(), name: object.key.name.clone() };
    let RateLimitSpec { total, identity, overrides, .. } = spec;
    Arc::new(RateLimit { metadata, total, identity, overrides })
}
