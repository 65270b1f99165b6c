//! What each fault does.

use super::{
    super::{
        faults::{FAULTS_END, Fault, break_bytes},
        follower::Follower,
    },
    Happening, World,
};

// === impl World ===

impl World {
    pub(super) fn starts(&mut self, party: usize) {
        self.parties[party].dead = false;
        self.parties[party].wake_at = None;
        for watcher in &mut self.watchers {
            if watcher.of + self.leaders.len() == party {
                // The connection to the replica that is gone was cut.
                watcher.resume_at(watcher.of);
            }
        }
        if let Some(leader) = self.leaders.get_mut(party) {
            leader.boot(self.now, self.oracle.version());
        } else {
            let seed = self.chance.next();
            let arms = self.arms;
            if let Some(follower) = self.follower(party) {
                let (link, deaf_link) = (follower.link, follower.deaf_link);
                let name = follower.replica.name.clone();
                *follower = Follower { link, deaf_link, ..Follower::new(name, seed, arms) };
            }
        }
        self.drive(party);
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.history.count("faults");
        self.history.trace(self.now, || format!("{fault:?}"));
        // Everything is over when the faults are.
        let until = |for_ms: u64| (self.now + for_ms).min(FAULTS_END);
        match fault {
            Fault::Pause { party, for_ms } => self.parties[party].paused_until = until(for_ms),
            Fault::Part { party, for_ms } => self.parties[party].parted_until = until(for_ms),
            Fault::Kill { party, for_ms } => {
                let at = until(for_ms);
                self.parties[party].dead = true;
                if let Some(leader) = self.leaders.get_mut(party) {
                    leader.alive = false;
                }
                self.at(at, Happening::Starts { party });
            }
            Fault::Stop { leader, for_ms } => {
                let at = until(for_ms);
                if self.now < self.parties[leader].paused_until || self.parties[leader].dead {
                    return;
                }
                if let Some(ask) = self.leaders[leader].stop() {
                    self.send(leader, 0, ask, 1000);
                }
                self.parties[leader].dead = true;
                self.at(at, Happening::Starts { party: leader });
            }
            Fault::Restart { for_ms, clock_ms } => {
                let at = until(for_ms);
                self.close();
                self.server.restart(at, clock_ms);
            }
            Fault::Clock { by_ms } => self.server.clock_ms += by_ms,
            Fault::EvictLeader => self.server.leader = None,
            Fault::EvictEpoch => {
                self.server.epoch = None;
                // Who has heard of a reign that is forgotten now looks for its snapshot and finds the one before.
                self.followers.iter_mut().for_each(|follower| follower.tainted = true);
            }
            Fault::EvictSnapshot => self.server.snapshot = None,
            Fault::EvictLog => self.server.evict_log(),
            Fault::Poison => {
                if let Some((bytes, _)) = &mut self.server.snapshot {
                    break_bytes(bytes, &mut self.chance);
                    self.taint();
                }
            }
            Fault::Close => self.close(),
            Fault::Deafen { follower } => {
                if let Some(follower) = self.follower(follower) {
                    follower.deaf_link = follower.link;
                }
            }
            Fault::Resync { follower } => {
                if let Some(known) = self.follower(follower).filter(|follower| follower.call.is_none()) {
                    known.tainted = true;
                    known.reading.resync();
                    self.drive(follower);
                }
            }
        }
    }

    fn close(&mut self) {
        for (to, link) in std::mem::take(&mut self.server.subscribers) {
            let at = self.hop();
            self.at(at, Happening::Closed { to, link });
        }
    }
}
