//! What the feed does under faults, with real processes: controllers and APIs as they are built, a real API server, a
//! real Redis behind a proxy that delays, stalls, cuts, and loses or changes single messages.
//!
//! Every test has a control arm that shows that the fault bites: a [follower](naive) as simple as can be, which takes
//! whatever is published in the order in which it comes, goes wrong, or the same write without the fence is accepted.
//!
//! | file | faults |
//! |---|---|
//! | `leaders.rs` | leaders killed, stopped, frozen, cut off; two at a time |
//! | `outages.rs` | Redis restarted, emptied, gone, slow, full |
//! | `messages.rs` | one replica cut off; messages lost, repeated, overtaken, changed |
//! | `snapshots.rs` | snapshots that are broken, hostile, huge, or older than the log |

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failing helper fails the test, and the tests print what they measured"
)]

mod leaders;
mod messages;
mod naive;
mod outages;
mod snapshots;
mod watcher;
mod world;
