//! One write of a plan, how it is made, and how it is taken back.

use super::{
    cluster::{Cluster, Fault, Mode, Version},
    record::{Action, Done, Image, kept},
    target::Target,
};
use crate::graph::kind::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One object as it shall be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) target: Target,
    pub(crate) action: Action,
    /// The version that the plan was made on; none for a new object.
    pub(crate) version: Option<Version>,
    /// What is applied; none for a deletion.
    pub(crate) body: Option<Value>,
    /// Take fields over from other managers.
    pub(crate) force: bool,
}

/// In which order objects are written, so that what lets calls in is there before what refuses the others: policies may
/// name Servers and routes that are not there yet, and take effect with them.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::MeshTLSAuthentication | Kind::NetworkAuthentication => 0,
        Kind::AuthorizationPolicy => 1,
        Kind::Server => 3,
        // Routes.
        _ => 2,
    }
}

/// Puts writes into the order in which they are made: first what is new or different, then, the other way round, what
/// goes.
pub(crate) fn order(writes: &mut [Write]) {
    writes.sort_by_cached_key(|write| {
        let rank = rank(write.target.kind);
        let deleted = write.action == Action::Delete;
        (deleted, if deleted { u8::MAX - rank } else { rank }, write.target.clone())
    });
}

// === impl Write ===

impl Write {
    /// Makes it, or tries it. What is there afterwards; none after a deletion.
    pub(crate) async fn send(&self, cluster: &Cluster, mode: Mode) -> Result<Option<Value>, Fault> {
        match (&self.body, &self.version) {
            (Some(body), version) => {
                cluster.apply(&self.target, body, version.as_ref(), self.force, mode).await.map(Some)
            }
            (None, Some(version)) => cluster.delete(&self.target, version, mode).await.map(|()| None),
            (None, None) => Ok(None),
        }
    }

    /// What was there before, as it is kept.
    pub(crate) fn image(&self, before: Option<&Value>) -> Image {
        Image { target: self.target.clone(), before: before.map(kept), after: None, written: false }
    }
}

// === impl Image ===

impl Image {
    /// Takes the write back that led from `before` to `after`.
    pub(crate) async fn undo(&self, cluster: &Cluster, now: Option<&Value>) -> Result<Option<Value>, Fault> {
        match (&self.before, now) {
            (Some(before), Some(now)) => {
                cluster.put_back(&self.target, before, &Version::of(now)).await.map(Some)
            }
            (Some(before), None) => cluster.make_anew(&self.target, before).await.map(Some),
            (None, Some(now)) => {
                cluster.delete(&self.target, &Version::of(now), Mode::Make).await.map(|()| None)
            }
            (None, None) => Ok(None),
        }
    }

    /// What taking it back does to the object.
    pub(crate) fn undoing(&self, now: Option<&Value>) -> Action {
        match (&self.before, now) {
            (Some(_), Some(_)) => Action::Update,
            (Some(_), None) => Action::Create,
            (None, Some(_)) => Action::Delete,
            (None, None) => Action::Unchanged,
        }
    }
}

// === impl Done ===

impl Done {
    pub(crate) fn of(target: &Target, action: Action, now: Option<&Value>) -> Self {
        let resource_version = now.map(|now| Version::of(now).resource_version).unwrap_or_default();
        Self { target: target.clone(), action, resource_version, error: String::new() }
    }

    pub(crate) fn failed(target: &Target, now: Option<&Value>, error: String) -> Self {
        Self { error, ..Self::of(target, Action::Failed, now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(kind: Kind, action: Action) -> Write {
        let row = kind.row();
        let version = format!("{}/{}", row.group, row.versions[0]);
        let target = Target::new(kind, &version, "shop", "web");
        Write { target, action, version: None, body: None, force: false }
    }

    #[test]
    fn what_lets_in_is_written_before_what_refuses_and_goes_after_it() {
        use Action::{Create, Delete, Update};
        let mut writes = [
            write(Kind::MeshTLSAuthentication, Delete),
            write(Kind::Server, Create),
            write(Kind::AuthorizationPolicy, Delete),
            write(Kind::GRPCRoute, Create),
            write(Kind::Server, Delete),
            write(Kind::AuthorizationPolicy, Update),
            write(Kind::NetworkAuthentication, Create),
            write(Kind::LinkerdHTTPRoute, Delete),
        ];
        order(&mut writes);
        let order: Vec<_> = writes.iter().map(|it| (it.action, it.target.kind)).collect();
        assert_eq!(
            order,
            [
                (Create, Kind::NetworkAuthentication),
                (Update, Kind::AuthorizationPolicy),
                (Create, Kind::GRPCRoute),
                (Create, Kind::Server),
                (Delete, Kind::Server),
                (Delete, Kind::LinkerdHTTPRoute),
                (Delete, Kind::AuthorizationPolicy),
                (Delete, Kind::MeshTLSAuthentication),
            ]
        );
    }
}
