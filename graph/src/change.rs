//! Changes of policy before they are made: what a manifest says, how it differs from what is there, whom it would let
//! in or shut out, and what speaks against it.
//!
//! ```text
//! manifest ─► Manifest ─► Edit ─┬─► Diff: lines and fields
//!                               ├─► Trial: the mesh with the edits ─┬─► Impact: flows and permissions that change
//!                               │                                   └─► Concerns: what Linkerd's webhook lets pass
//!                               └─► Owner (of the live object): who would undo it
//! graph ─► Proposal: the least that lets in what is seen
//! ```
//!
//! Everything is decided on values; nothing here changes anything. The verdicts are those of [`crate::policy`].

pub mod concern;
pub mod diff;
pub mod edit;
pub mod manifest;
pub mod owner;
pub mod propose;
pub mod simulate;
mod trial;

pub use concern::Concern;
pub use diff::{Diff, diff};
pub use edit::{CHANGEABLE, Edit, EditsError};
pub use manifest::{Manifest, ManifestError};
pub use owner::{Owner, owner, patch_for_repository};
pub use propose::{Proposal, Readiness, Scope, propose};
pub use simulate::{Flow, Flows, Impact, simulate};
use trial::Trial;

use crate::policy::ask::Mesh;
use serde::Serialize;

/// Everything that is said about edits before they are made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assessment {
    /// One for each edit, in their order.
    pub diffs: Vec<Diff>,
    /// What would happen to calls.
    pub impact: Impact,
    /// What speaks against the edits, what refuses them first.
    pub concerns: Vec<Concern>,
}

/// Says everything about edits: [`diff`], [`simulate`] and [`concern::concerns`] at the cost of one look at the mesh.
///
/// # Errors
///
/// When the edits do not go together.
pub fn assess(mesh: &Mesh<'_>, edits: &[Edit]) -> Result<Assessment, EditsError> {
    edit::fit(edits)?;
    let trial = Trial::of(mesh, edits);
    let impact = simulate::impact(&trial);
    let concerns = concern::look(&trial, &impact);
    Ok(Assessment { diffs: edits.iter().map(diff).collect(), impact, concerns })
}

// === impl Assessment ===

impl Assessment {
    /// True when something refuses the edits.
    pub fn is_refused(&self) -> bool {
        self.concerns.iter().any(|concern| concern.severity == concern::Severity::Refuse)
    }
}

#[cfg(test)]
mod tests;
