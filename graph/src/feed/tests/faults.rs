//! What goes wrong in one simulation. Each seed has some kinds of faults and not others, and its own rates: faults that
//! hide each other are then apart in some of them.

use crate::feed::chance::Chance;

/// Faults stop then, and the mesh stops changing.
pub(super) const FAULTS_END: u64 = 18_000;
/// Everybody has to agree by then.
pub(super) const END: u64 = FAULTS_END + 20_000;

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// As SIGSTOP and, later, SIGCONT.
    Pause {
        party: usize,
        for_ms: u64,
    },
    /// As SIGKILL; it is started anew later.
    Kill {
        party: usize,
        for_ms: u64,
    },
    /// As SIGTERM: a leader gives up the lead.
    Stop {
        leader: usize,
        for_ms: u64,
    },
    /// Nothing gets through between this party and Redis.
    Part {
        party: usize,
        for_ms: u64,
    },
    /// Redis restarts without memory.
    Restart {
        for_ms: u64,
        clock_ms: i64,
    },
    /// Somebody sets Redis' clock.
    Clock {
        by_ms: i64,
    },
    EvictLeader,
    EvictEpoch,
    EvictSnapshot,
    EvictLog,
    /// The snapshot is replaced by something else.
    Poison,
    /// Redis closes all subscriptions.
    Close,
    /// The subscription stays open and delivers nothing any more.
    Deafen {
        follower: usize,
    },
    /// The replica asks for a snapshot.
    Resync {
        follower: usize,
    },
}

/// How often which message comes to harm, in so many of 1000.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    /// Pushed messages: Redis cuts off who is slow, and says nothing.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    pub(super) broken: u64,
    /// Commands and answers.
    pub(super) dropped: u64,
    /// Commands and answers that take up to four seconds, longer than a lease.
    pub(super) slow: u64,
}

pub(super) struct Plan {
    pub(super) leaders: usize,
    pub(super) followers: usize,
    pub(super) rates: Rates,
    /// With their times, in any order.
    pub(super) faults: Vec<(u64, Fault)>,
    /// Mean time between two changes of the mesh.
    pub(super) between_changes: u64,
    pub(super) log_entries: usize,
}

impl Plan {
    pub(super) fn new(chance: &mut Chance) -> Self {
        let leaders = chance.between(2, 4) as usize;
        let followers = chance.between(2, 5) as usize;
        let rates = Rates {
            lost: rate(chance),
            doubled: rate(chance),
            reordered: rate(chance),
            broken: rate(chance) / 4,
            dropped: rate(chance) / 2,
            slow: rate(chance) / 2,
        };
        let kinds = chance.next();
        let faults = (0..chance.between(1, 16))
            .filter_map(|_| {
                let kind = chance.below(14);
                let fault = fault(kind, leaders, followers, chance);
                let at = chance.between(1500, FAULTS_END - 500);
                (kinds & (1 << kind) != 0).then_some((at, fault))
            })
            .collect();
        let log_entries = [4, 30, 1000][chance.below(3) as usize];
        Self { leaders, followers, rates, faults, between_changes: chance.between(200, 800), log_entries }
    }
}

fn rate(chance: &mut Chance) -> u64 {
    if chance.one_in(2) { 0 } else { chance.between(10, 200) }
}

fn fault(kind: u64, leaders: usize, followers: usize, chance: &mut Chance) -> Fault {
    let party = chance.below((leaders + followers) as u64) as usize;
    let leader = chance.below(leaders as u64) as usize;
    let follower = leaders + chance.below(followers as u64) as usize;
    // Up to two and a half leases.
    let for_ms = chance.between(100, 7500);
    match kind {
        0 => Fault::Pause { party: leader, for_ms },
        1 => Fault::Pause { party, for_ms },
        2 => Fault::Kill { party, for_ms },
        3 => Fault::Stop { leader, for_ms },
        4 => Fault::Part { party, for_ms },
        5 => {
            let hour = 3_600_000;
            let clock_ms = chance.below(2 * hour) as i64 - hour as i64;
            Fault::Restart { for_ms: chance.between(50, 3000), clock_ms }
        }
        // Back only a little: keys that expire by the wall clock, the lease of a leader that is dead for one, would
        // stay as long as it was set back.
        6 => Fault::Clock { by_ms: [3_600_000, -1500][chance.below(2) as usize] },
        7 => Fault::EvictLeader,
        8 => Fault::EvictEpoch,
        9 => Fault::EvictSnapshot,
        10 => Fault::EvictLog,
        11 => Fault::Poison,
        12 => Fault::Close,
        _ if chance.one_in(2) => Fault::Deafen { follower },
        _ => Fault::Resync { follower },
    }
}

/// Flips a bit or cuts the end off.
pub(super) fn break_bytes(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let at = chance.below(bytes.len() as u64) as usize;
    if chance.one_in(4) {
        bytes.truncate(at);
    } else if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << chance.below(8);
    }
}
