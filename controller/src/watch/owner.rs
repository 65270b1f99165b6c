//! ReplicaSets and Jobs: what stands between a pod and its topmost owner. Only their metadata is asked for.

use super::{
    FactError,
    object::{self, MetadataOnly},
};
use crate::graph::{
    fact::{Fact, Owner},
    kind::Kind,
};
use std::sync::Arc;

/// The fact of an owner of `kind`.
pub(super) fn fact(kind: Kind, json: &str) -> Result<Fact, FactError> {
    let object: MetadataOnly = object::read(json)?;
    Ok(Fact::Owner(Arc::new(Owner {
        kind,
        key: object.metadata.key()?,
        owner: object.metadata.controller(),
    })))
}
