//! Holds the oracle against the recordings of Linkerd's real policy controller.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod recorded;
