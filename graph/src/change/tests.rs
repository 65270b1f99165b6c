//! What is said about edits: `properties` for what holds in every mesh, the others for values.

mod concerns;
mod properties;
mod proposals;
mod values;
mod world;
