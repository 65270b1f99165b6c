//! What a call of a tool leaves behind.

/// What a call of a tool leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Reads,
    /// Something of ours, for five minutes; nothing in the cluster.
    Plans,
    /// A change in the cluster, to which a person has said yes.
    Changes,
}
