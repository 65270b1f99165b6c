//! What a call may cost besides being a request.
//!
//! Tools that ask Prometheus or Kubernetes make others work: they cost more tokens than answers from memory, and only
//! so many of them run at once, for one caller and in all.
//!
//! Nobody waits here. A caller in a loop is told so at once, and what it has under way is all that it takes from others.

use super::{
    gate::{
        Caller,
        rate::{self, Rates},
    },
    tool::{Tool, Toolset},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// How many calls that leave this process may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one caller.
    pub per_caller: usize,
    /// Of all callers together.
    pub in_all: usize,
}

/// What callers have left. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    rates: Rates,
    // Held for a few instructions.
    running: Mutex<Running>,
}

/// Calls under way. Callers without one are not in it, so that it is never larger than the limit.
#[derive(Debug, Default)]
struct Running {
    in_all: usize,
    by_caller: HashMap<Caller, usize>,
}

/// A call that is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    budget: Budget,
    caller: Caller,
}

/// Why a call does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Busy {
    /// The caller has enough under way.
    #[error(
        "busy: {0} of your calls that ask Prometheus or Kubernetes are under way; wait for one to end, then try again"
    )]
    Caller(usize),
    /// All callers have.
    #[error(
        "busy: others have {0} calls that ask Prometheus or Kubernetes under way; try again in some seconds"
    )]
    All(usize),
    /// The caller has asked too much lately.
    #[error(
        "busy: a call that asks Prometheus or Kubernetes counts as {COST} requests, and you have made too many of at most \
         {0} a second; try again in some seconds"
    )]
    Rate(u32),
}

/// What a call that leaves this process costs, in tokens; what is answered from memory costs one.
const COST: u32 = 10;

// === impl Limits ===

impl Default for Limits {
    /// An answer may be tens of megabytes before it is made short, so this is about memory too.
    fn default() -> Self {
        Self { per_caller: 4, in_all: 16 }
    }
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, rates: Rates::default(), running: Mutex::default() }))
    }

    /// Takes what every request costs: one token of `per_second`; 0 is no limit. False when there is none left.
    pub(crate) fn request(&self, caller: &Caller, per_second: u32) -> bool {
        self.0.rates.take(caller, per_second, 1)
    }

    /// Begins a call that leaves this process, by a request that has been taken.
    ///
    /// # Errors
    ///
    /// When too many are under way, or the caller has no tokens for it.
    pub(crate) fn begin(&self, caller: &Caller, per_second: u32) -> Result<Place, Busy> {
        let Limits { per_caller, in_all } = self.0.limits;
        let mut running = self.0.running.lock();
        let of_caller = running.by_caller.get(caller).copied().unwrap_or_default();
        if of_caller >= per_caller {
            return Err(Busy::Caller(of_caller));
        }
        if running.in_all >= in_all {
            return Err(Busy::All(running.in_all));
        }
        // The request has cost one already. Where a bucket is smaller than a call, a full one is enough.
        let rest = (COST - 1).min(rate::burst(per_second).saturating_sub(1));
        if !self.0.rates.take(caller, per_second, rest) {
            return Err(Busy::Rate(per_second));
        }
        running.in_all += 1;
        *running.by_caller.entry(caller.clone()).or_default() += 1;
        Ok(Place { budget: self.clone(), caller: caller.clone() })
    }
}

/// True when a tool is answered by others than this process.
pub(crate) fn leaves(tool: &Tool) -> bool {
    match tool.set {
        Toolset::Prometheus | Toolset::Kubernetes | Toolset::Changes => true,
        Toolset::Mesh | Toolset::Policy => false,
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.budget.0.running.lock();
        running.in_all -= 1;
        if let Some(count) = running.by_caller.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                running.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests;
