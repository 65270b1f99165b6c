//! What servers' proxies decided about the edges that clients' proxies saw.

use super::{
    Client,
    edges::Draft,
    numbered::Nth,
    places::{At, Call, Places},
    servers::Served,
};
use crate::model::Protocol;

/// Drafts by the workload that answered and the identity that asked.
struct ByServer {
    /// Where the entries of each workload begin, and where the last ones end.
    begin: Vec<u32>,
    /// In order, those of one workload next to each other.
    entries: Vec<(At, Nth, u32)>,
}

/// Gives each draft what the servers' proxies decided about it, and returns the server rows no draft stands for.
pub(super) fn judge<'a>(
    drafts: &mut [Draft],
    served: &'a [(Call, Served)],
    places: &Places<'_>,
) -> Vec<&'a (Call, Served)> {
    let by_server = ByServer::of(drafts, places.workloads.len());
    let mut unmatched = Vec::new();
    let mut matching: Vec<usize> = Vec::new();
    for one in served {
        let (call, served) = one;
        matching.clear();
        if let Client::Identity(identity) = call.client {
            let known = by_server.get(call.at, identity);
            matching.extend(known.filter(|at| drafts[*at].on_port(call.port)));
        }
        if matching.is_empty() {
            unmatched.push(one);
        } else {
            share_out(drafts, &matching, served);
        }
    }
    drafts.iter_mut().for_each(Draft::count_denials);
    unmatched
}

/// Several edges may lead from one identity to one port (two Services of one workload, two workloads of one
/// ServiceAccount). The server's proxy does not tell them apart; its counts are shared out by what each client
/// counted.
fn share_out(drafts: &mut [Draft], matching: &[usize], served: &Served) {
    if let [only] = matching {
        return drafts[*only].take(served, 1.0, 1.0);
    }
    let weigh = |weight: &dyn Fn(&Draft) -> f64| -> Vec<f64> {
        let weights: Vec<f64> = matching.iter().map(|at| weight(&drafts[*at])).collect();
        let total: f64 = weights.iter().sum();
        weights
            .iter()
            .map(|weight| if total > 0.0 { weight / total } else { 1.0 / weights.len() as f64 })
            .collect()
    };
    let by_rate = weigh(&|draft| draft.numbers.rps.or(draft.numbers.tcp_opened).unwrap_or(0.0));
    let by_refusal = weigh(&Draft::refusals);
    for (at, draft) in matching.iter().enumerate() {
        drafts[*draft].take(served, by_rate[at], by_refusal[at]);
    }
}

// === impl ByServer ===

impl ByServer {
    fn of(drafts: &[Draft], workloads: usize) -> Self {
        let mut entries = Vec::with_capacity(drafts.len());
        for (at, draft) in (0..).zip(drafts) {
            let Some(identity) = draft.identity else { continue };
            entries.extend(draft.workloads.keys().map(|workload| (workload, identity, at)));
        }
        entries.sort_unstable();
        let mut begin = vec![0; workloads + 1];
        for (workload, ..) in &entries {
            begin[workload.index() + 1] += 1;
        }
        for workload in 0..workloads {
            begin[workload + 1] += begin[workload];
        }
        Self { begin, entries }
    }

    /// The drafts from `identity` that `workload` answered, in order.
    fn get(&self, workload: At, identity: Nth) -> impl Iterator<Item = usize> {
        let (begin, end) = (self.begin[workload.index()] as usize, self.begin[workload.index() + 1] as usize);
        let of_workload = &self.entries[begin..end];
        let first = of_workload.partition_point(|(_, known, _)| *known < identity);
        let known = of_workload[first..].iter().take_while(move |(_, known, _)| *known == identity);
        known.map(|(.., draft)| *draft as usize)
    }
}

// === impl Draft ===

impl Draft {
    fn on_port(&self, port: Option<u16>) -> bool {
        self.target_ports.is_empty() || port.is_none_or(|port| self.target_ports.contains(port))
    }

    /// Takes in shares of what a server's proxy counted.
    fn take(&mut self, served: &Served, of_calls: f64, of_refusals: f64) {
        let numbers = &mut self.numbers;
        if served.judged {
            *numbers.allowed.get_or_insert_default() += served.allowed.unwrap_or(0.0) * of_calls;
            *numbers.denied.get_or_insert_default() += served.denied() * of_refusals;
        }
        if served.unrouted > 0.0 {
            *numbers.unrouted.get_or_insert_default() += served.unrouted * of_calls;
        }
        self.authorizations.extend(&served.authorizations);
    }

    /// What the client counted that a denial may be behind.
    fn refusals(&self) -> f64 {
        match self.edge.protocol {
            Protocol::Http => self.forbidden,
            Protocol::Grpc => match (self.numbers.rps, self.numbers.success_rate) {
                (Some(rps), Some(success)) => rps * (1.0 - success),
                _ => 0.0,
            },
            Protocol::Tcp => self.numbers.tcp_opened.unwrap_or(0.0),
        }
    }

    /// A denied HTTP request is a 403, which counts as success at the client; a denied gRPC call is a failure there
    /// already.
    fn count_denials(&mut self) {
        let (Some(rps), Some(success), Some(denied)) =
            (self.numbers.rps, self.numbers.success_rate, self.numbers.denied)
        else {
            return;
        };
        if self.edge.protocol == Protocol::Http && rps > 0.0 {
            let refused = denied.min(self.forbidden);
            self.numbers.success_rate = Some((success - refused / rps).max(0.0));
        }
    }
}
