//! One simulation: parties, Redis and the network between them, in a time of their own. Everything that happens is in
//! one queue in the order of its time, so a seed is one run, and the same one wherever it is run.

mod trouble;

use super::{
    Arms,
    faults::{END, FAULTS_END, Fault, Plan, Rates, break_bytes},
    follower::{Follower, Watcher},
    history::{History, Rule},
    leader::Leader,
    oracle::Oracle,
    server::{Answer, Ask, Publication, Push, Server},
};
use crate::{
    feed::{
        chance::Chance,
        reader::{Command, Input},
        reign::LogLimits,
    },
    wire::{Limits, snapshot},
};
use std::{collections::BTreeMap, time::Duration};

enum Happening {
    Arrives { from: usize, call: u64, ask: Ask },
    Answered { to: usize, call: u64, answer: Answer },
    Pushed { to: usize, link: u64, push: Push },
    Closed { to: usize, link: u64 },
    Wake { party: usize },
    Learns { leader: usize, version: usize },
    Changes,
    Watches { watcher: usize },
    Fault(Fault),
    Starts { party: usize },
}

/// What a party has besides itself.
#[derive(Debug, Clone, Copy, Default)]
struct Circumstances {
    paused_until: u64,
    parted_until: u64,
    dead: bool,
    wake_at: Option<u64>,
    /// When what was pushed to it last arrives: the next thing does not arrive before that.
    last_push: u64,
}

pub(super) struct World {
    arms: Arms,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    tie: u64,
    calls: u64,
    chance: Chance,
    rates: Rates,
    between_changes: u64,
    oracle: Oracle,
    server: Server,
    leaders: Vec<Leader>,
    followers: Vec<Follower>,
    watchers: Vec<Watcher>,
    parties: Vec<Circumstances>,
    pub(super) history: History,
}

// === impl World ===

impl World {
    pub(super) fn new(seed: u64, arms: Arms) -> Self {
        let mut chance = Chance::new(seed);
        let plan = Plan::new(&mut chance);
        let log = LogLimits { entries: plan.log_entries, bytes: 64 << 20 };
        let leaders = (0..plan.leaders).map(|number| {
            // Within what the margin of the lease allows; the rest is for fencing.
            let clock = (chance.between(900, 1100), chance.below(1_000_000));
            Leader::new(number, arms, clock, log)
        });
        let leaders: Vec<_> = leaders.collect();
        let followers =
            (0..plan.followers).map(|number| Follower::new(format!("replica {number}"), chance.next(), arms));
        let followers: Vec<_> = followers.collect();
        let watchers = (0..3).map(|number| {
            let of = chance.below(plan.followers as u64) as usize;
            Watcher::new(format!("watcher {number}"), of)
        });
        let mut world = Self {
            arms,
            now: 0,
            queue: BTreeMap::new(),
            tie: 0,
            calls: 0,
            rates: plan.rates,
            between_changes: plan.between_changes,
            oracle: Oracle::new(),
            server: Server::default(),
            parties: vec![Circumstances::default(); plan.leaders + plan.followers],
            watchers: watchers.collect(),
            leaders,
            followers,
            history: History::default(),
            chance,
        };
        for party in 0..world.parties.len() {
            let at = world.chance.below(800);
            world.at(at, Happening::Starts { party });
        }
        for (at, fault) in plan.faults {
            world.at(at, Happening::Fault(fault));
        }
        for watcher in 0..world.watchers.len() {
            world.at(500, Happening::Watches { watcher });
        }
        world.at(100, Happening::Changes);
        world
    }

    /// Lets everything happen and says what should not have.
    pub(super) fn run(mut self) -> History {
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            if at > END {
                break;
            }
            self.now = at;
            self.happen(happening);
        }
        self.judge();
        self.history
    }

    fn judge(&mut self) {
        let (now, wanted) = (self.now, self.oracle.now().clone());
        let numbers = self.oracle.numbers(self.oracle.version());
        for watcher in &mut self.watchers {
            let replica = &mut self.followers[watcher.of].replica;
            watcher.catch_up(now, replica, &mut self.history);
        }
        for Follower { replica, .. } in &self.followers {
            if replica.graph != wanted {
                let what = format!("{} is at {:?} with another graph", replica.name, replica.position);
                self.history.broken(Rule::Converged, now, what);
            } else if self.arms.dense && replica.numbers != numbers {
                let what = format!("{} has the graph and other numbers", replica.name);
                self.history.broken(Rule::Converged, now, what);
            }
        }
        for watcher in self.watchers.iter().filter(|watcher| watcher.graph != wanted) {
            let what = format!("{} has another graph", watcher.name);
            self.history.broken(Rule::Converged, now, what);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let party = match &happening {
            Happening::Answered { to, .. } | Happening::Pushed { to, .. } | Happening::Closed { to, .. } => {
                Some(*to)
            }
            Happening::Wake { party } => Some(*party),
            _ => None,
        };
        if let Some(party) = party {
            let Circumstances { paused_until, dead, .. } = self.parties[party];
            if dead {
                return;
            }
            if self.now < paused_until {
                return self.postpone(party, paused_until, happening);
            }
        }
        match happening {
            Happening::Arrives { from, call, ask } => self.arrives(from, call, ask),
            Happening::Answered { to, call, answer } => self.answered(to, call, answer),
            Happening::Pushed { to, link, push } => self.pushed(to, link, push),
            Happening::Closed { to, link } => {
                if let Some(follower) = self.follower(to).filter(|follower| follower.link == link) {
                    follower.closed = true;
                    self.drive(to);
                }
            }
            Happening::Wake { party } => {
                if self.parties[party].wake_at == Some(self.now) {
                    self.parties[party].wake_at = None;
                    self.drive(party);
                }
            }
            Happening::Learns { leader, version } => {
                if self.leaders[leader].alive {
                    self.leaders[leader].learn(version);
                    self.drive(leader);
                }
            }
            Happening::Changes => self.changes(),
            Happening::Watches { watcher } => self.watches(watcher),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Starts { party } => self.starts(party),
        }
    }

    /// Keeps what comes for a party that is paused. Redis does not keep much of it.
    fn postpone(&mut self, party: usize, until: u64, happening: Happening) {
        if matches!(happening, Happening::Wake { .. }) {
            self.parties[party].wake_at = Some(until);
        }
        self.at(until, happening);
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.tie += 1;
        self.queue.insert((time.max(self.now), self.tie), happening);
    }

    fn follower(&mut self, party: usize) -> Option<&mut Follower> {
        self.followers.get_mut(party.checked_sub(self.leaders.len())?)
    }

    fn faulty(&self) -> bool {
        self.now < FAULTS_END
    }

    fn happens(&mut self, of_1000: u64) -> bool {
        self.faulty() && of_1000 > 0 && self.chance.below(1000) < of_1000
    }

    fn parted(&self, party: usize) -> bool {
        self.now < self.parties[party].parted_until
    }

    fn hop(&mut self) -> u64 {
        let slow = self.happens(self.rates.slow);
        self.now + if slow { self.chance.between(50, 4000) } else { self.chance.between(1, 6) }
    }

    /// Sends a command. If it or its answer gets lost, that is an answer in time.
    fn send(&mut self, from: usize, call: u64, mut ask: Ask, patience: u64) {
        self.at(self.now + patience, Happening::Answered { to: from, call, answer: Answer::Failed });
        if self.parted(from) || self.happens(self.rates.dropped) {
            return;
        }
        if let Ask::Publish { what, .. } = &mut ask
            && self.happens(self.rates.broken / 4)
        {
            match what {
                Publication::Delta { envelope, whole, .. } => {
                    *whole = false;
                    break_bytes(envelope, &mut self.chance);
                }
                Publication::Snapshot { snapshot, .. } => break_bytes(snapshot, &mut self.chance),
                Publication::Metrics { frame } => break_bytes(frame, &mut self.chance),
                Publication::Heartbeat { envelope } => break_bytes(envelope, &mut self.chance),
            }
            self.taint();
        }
        let at = self.hop();
        self.at(at, Happening::Arrives { from, call, ask });
    }

    fn taint(&mut self) {
        self.history.count("broken");
        self.followers.iter_mut().for_each(|follower| follower.tainted = true);
    }

    fn arrives(&mut self, from: usize, call: u64, ask: Ask) {
        if self.parted(from) {
            return;
        }
        if self.now < self.server.down_until {
            let at = self.hop();
            return self.at(at, Happening::Answered { to: from, call, answer: Answer::Failed });
        }
        let (mut answer, push) = self.server.run(self.now, from, ask, self.arms, &mut self.history);
        if let Some(push) = push {
            self.push(&push);
        }
        if self.happens(self.rates.dropped) {
            return;
        }
        if self.happens(self.rates.broken) {
            match &mut answer {
                Answer::Keys { snapshot: Some(bytes), .. } | Answer::Keys { frame: Some(bytes), .. } => {
                    break_bytes(bytes, &mut self.chance);
                    self.taint();
                }
                Answer::Entries { entries, .. } => {
                    if let Some(entry) = entries.last_mut() {
                        break_bytes(&mut entry.envelope, &mut self.chance);
                        self.taint();
                    }
                }
                _ => {}
            }
        }
        let at = self.hop();
        self.at(at, Happening::Answered { to: from, call, answer });
    }

    /// Redis pushes to everybody who is subscribed.
    fn push(&mut self, push: &Push) {
        if matches!(push, Push::Request) {
            for leader in 0..self.leaders.len() {
                if !self.parted(leader) && !self.happens(self.rates.lost) {
                    let at = self.hop();
                    self.at(at, Happening::Pushed { to: leader, link: 0, push: Push::Request });
                }
            }
            return;
        }
        for (to, link) in self.server.subscribers.clone() {
            let copies = if self.happens(self.rates.doubled) { 2 } else { 1 };
            for _ in 0..copies {
                if self.parted(to) || self.happens(self.rates.lost) {
                    self.history.count("lost");
                    continue;
                }
                let mut push = push.clone();
                if self.happens(self.rates.broken)
                    && let Push::Envelope(bytes) | Push::Frame(bytes) = &mut push
                {
                    break_bytes(bytes, &mut self.chance);
                    self.taint();
                }
                let at = if self.happens(self.rates.reordered) {
                    self.now + self.chance.between(1, 1500)
                } else {
                    self.hop().max(self.parties[to].last_push)
                };
                self.parties[to].last_push = self.parties[to].last_push.max(at).min(self.now + 4000);
                self.at(at, Happening::Pushed { to, link, push });
            }
        }
    }

    fn pushed(&mut self, to: usize, link: u64, push: Push) {
        match push {
            Push::Request => {
                if let Some(leader) = self.leaders.get_mut(to) {
                    leader.wanted();
                }
            }
            push => {
                let Some(follower) = self.follower(to) else { return };
                if !follower.linked || follower.link != link || follower.deaf_link == link {
                    return;
                }
                match push {
                    Push::Envelope(bytes) => follower.pushed(bytes),
                    Push::Frame(bytes) => follower.frame = Some(bytes),
                    Push::Request => {}
                }
            }
        }
        self.drive(to);
    }

    fn answered(&mut self, to: usize, call: u64, answer: Answer) {
        if to < self.leaders.len() {
            self.calls += 1;
            let (now, next) = (self.now, self.calls);
            let ask = self.leaders[to].answered(now, call, answer, next, &self.oracle);
            if let Some(ask) = ask {
                self.send(to, next, ask, 1000);
            }
            return self.drive(to);
        }
        let now = self.local(to);
        let Some(follower) = self.follower(to) else { return };
        if follower.call != Some(call) {
            return;
        }
        follower.call = None;
        match answer {
            Answer::Done if !follower.linked => {
                follower.linked = true;
                follower.reading.take(now, Input::Connected);
            }
            Answer::Done => follower.reading.take(now, Input::Requested),
            Answer::Keys { snapshot, frame } => {
                let snapshot = snapshot.map(|bytes| snapshot::decode(&bytes, Limits::SNAPSHOT));
                follower.reading.take(now, Input::Snapshot { snapshot, frame: frame.as_deref() });
            }
            Answer::Entries { reign, entries } => {
                follower.reading.take(now, Input::Log { reign, entries: &entries });
            }
            Answer::Reign(reign) => follower.reading.take(now, Input::Reign(reign)),
            Answer::Failed | Answer::No | Answer::Led { .. } => {
                follower.unlink();
                follower.reading.take(now, Input::Lost);
            }
        }
        self.drive(to);
    }

    /// A follower's own clock.
    fn local(&self, party: usize) -> Duration {
        Duration::from_millis(self.now + 1_000_000 * party as u64)
    }

    fn drive(&mut self, party: usize) {
        let due =
            if party < self.leaders.len() { self.drive_leader(party) } else { self.drive_follower(party) };
        let Some(due) = due else { return };
        let known = &mut self.parties[party].wake_at;
        if known.is_none_or(|at| due < at) {
            *known = Some(due);
            self.at(due, Happening::Wake { party });
        }
    }

    fn drive_leader(&mut self, party: usize) -> Option<u64> {
        let paused = self.now < self.parties[party].paused_until;
        if paused || !self.leaders[party].alive {
            return paused.then_some(self.parties[party].paused_until);
        }
        self.calls += 2;
        let (now, call) = (self.now, self.calls);
        if let Some(ask) = self.leaders[party].keep(now, call) {
            let patience = self.leaders[party].patience(now, call);
            self.send(party, call, ask, patience);
        }
        if let Some(ask) = self.leaders[party].act(now, call - 1, &self.oracle) {
            self.send(party, call - 1, ask, 1000);
        }
        Some(self.leaders[party].due(now))
    }

    fn drive_follower(&mut self, party: usize) -> Option<u64> {
        let (now, local) = (self.now, self.local(party));
        let follower = self.followers.get_mut(party - self.leaders.len())?;
        for _ in 0..200 {
            follower.hear(now, &self.server, &mut self.history);
            if follower.call.is_some() {
                return None;
            }
            let ask = match follower.reading.command(local) {
                Command::Connect { not_before } if local < not_before => {
                    follower.unlink();
                    return Some(now + millis(not_before - local));
                }
                Command::Connect { .. } => {
                    follower.unlink();
                    follower.link += 1;
                    Ask::Subscribe { link: follower.link }
                }
                Command::Listen { until } => {
                    if std::mem::take(&mut follower.overflow) {
                        follower.reading.take(local, Input::Overflow);
                    } else if let Some(bytes) = follower.inbox.pop_front() {
                        follower.reading.take(local, Input::Envelope(&bytes));
                    } else if let Some(bytes) = follower.frame.take() {
                        follower.reading.take(local, Input::Frame(&bytes));
                    } else if follower.closed {
                        follower.unlink();
                        follower.reading.take(local, Input::Lost);
                    } else if local >= until {
                        follower.reading.take(local, Input::Silence);
                    } else {
                        return Some(now + millis(until - local));
                    }
                    continue;
                }
                Command::Snapshot => Ask::Snapshot,
                Command::Log { after } => Ask::Log { after },
                Command::Reign => Ask::Reign,
                Command::Request => Ask::Request,
            };
            self.calls += 1;
            let call = self.calls;
            follower.call = Some(call);
            self.send(party, call, ask, 1000);
            return None;
        }
        let what = format!("{} does not stop", follower.replica.name);
        self.history.broken(Rule::Idle, now, what);
        None
    }

    fn changes(&mut self) {
        let version = self.oracle.change(&mut self.chance);
        for leader in 0..self.leaders.len() {
            let at = self.now + self.chance.between(1, 400);
            self.at(at, Happening::Learns { leader, version });
        }
        let at = self.now + self.chance.between(1, 2 * self.between_changes);
        if at < FAULTS_END {
            self.at(at, Happening::Changes);
        }
    }

    fn watches(&mut self, number: usize) {
        let followers = self.followers.len() as u64;
        let moves = self.happens(150).then(|| self.chance.below(followers) as usize);
        let watcher = &mut self.watchers[number];
        if let Some(of) = moves {
            watcher.resume_at(of);
        }
        watcher.catch_up(self.now, &mut self.followers[watcher.of].replica, &mut self.history);
        let at = self.now + self.chance.between(100, 900);
        self.at(at, Happening::Watches { watcher: number });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).expect("simulations are short")
}
