//! Tests that span modules, and the values they share.

pub(crate) mod arbitrary;
mod wire;
