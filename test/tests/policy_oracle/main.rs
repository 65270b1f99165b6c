//! Two readings of Linkerd's policy held against each other: the product's evaluator and the oracle, on recorded and on
//! random objects.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod difference;
mod evaluator;
mod generate;
mod properties;
mod recorded;
mod surfaces;
