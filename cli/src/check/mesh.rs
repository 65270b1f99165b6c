//! What the API says of itself: how it gets its graph, and how fresh that is.

use super::{
    Check, Verdict, known, named,
    seen::{ApiSeen, Seen},
};
use linkerd_mcp_proto::v1::MetricsFreshness;

/// Several times the feed's own heartbeat.
const LATE_FEED_MS: u64 = 10_000;
const OURS: &str = env!("CARGO_PKG_VERSION");

/// The graph and where it comes from.
pub(super) const CHECKS: &[Check] = &[
    Check::new("linkerd-mcp API answers", "mcp-api-answers", answers).retried(),
    Check::new("linkerd-mcp API and CLI versions match", "mcp-api-cli-version", versions),
    Check::new("linkerd-mcp API reaches Redis", "mcp-redis", redis).retried(),
    Check::new("linkerd-mcp has a leader and a fresh feed", "mcp-leader", leader).retried(),
    Check::new("linkerd-mcp knows all of the cluster", "mcp-topology-synced", topology).retried(),
    Check::new("Prometheus answers", "mcp-prometheus", prometheus).retried(),
    Check::new("Prometheus has metrics of all proxies", "mcp-prometheus-series", series),
    Check::new("Prometheus scrapes often enough", "mcp-prometheus-window", window),
    Check::new("Linkerd policy controller answers", "mcp-policy-controller", policy_controller),
];

fn answers(seen: &Seen) -> Verdict {
    known(&seen.api).err().unwrap_or(Verdict::Fine)
}

fn versions(seen: &Seen) -> Verdict {
    match api(seen).and_then(|api| api.version.as_deref()) {
        Some(OURS) => Verdict::Fine,
        Some(theirs) => Verdict::Warning(format!("the API is {theirs}, this command is {OURS}")),
        None => Verdict::Skip,
    }
}

fn redis(seen: &Seen) -> Verdict {
    // Without a feed of its own the API has the controller in its process.
    match api(seen).and_then(|api| api.freshness.feed.as_ref()) {
        None => Verdict::Skip,
        Some(feed) if feed.connected => Verdict::Fine,
        Some(feed) => Verdict::Error(format!(
            "the API has lost its feed and answers from a graph that is {}s old",
            feed.age_ms / 1000
        )),
    }
}

fn leader(seen: &Seen) -> Verdict {
    match api(seen).and_then(|api| api.freshness.feed.as_ref()) {
        Some(feed) if feed.connected && feed.position.is_none() => {
            Verdict::Error("no controller has published a graph yet".to_owned())
        }
        Some(feed) if feed.connected && feed.age_ms > LATE_FEED_MS => Verdict::Error(format!(
            "the API has heard nothing for {}s: no controller leads, or the leader cannot publish",
            feed.age_ms / 1000
        )),
        Some(feed) if feed.connected => Verdict::Fine,
        // Said by the check of Redis.
        _ => Verdict::Skip,
    }
}

fn topology(seen: &Seen) -> Verdict {
    let Some(topology) = api(seen).and_then(|api| api.freshness.topology.as_ref()) else {
        return Verdict::Skip;
    };
    if topology.synced {
        return Verdict::Fine;
    }
    let kinds: Vec<String> = topology
        .not_synced
        .iter()
        .map(|kind| match kind.detail.trim_end_matches('.') {
            "" => format!("{} is {}", kind.kind, kind.state),
            detail => format!("{} is {} ({detail})", kind.kind, kind.state),
        })
        .collect();
    match kinds.is_empty() {
        true => Verdict::Error("not everything in the cluster has been read yet".to_owned()),
        false => Verdict::Error(named(&kinds)),
    }
}

fn prometheus(seen: &Seen) -> Verdict {
    let Some(metrics) = metrics(seen) else { return Verdict::Skip };
    match (metrics.stale, metrics.reason.trim_end_matches('.')) {
        (false, _) => Verdict::Fine,
        (true, "") => Verdict::Error("the numbers are not from the latest poll".to_owned()),
        (true, reason) => Verdict::Error(reason.to_owned()),
    }
}

fn series(seen: &Seen) -> Verdict {
    let Some(metrics) = measured(seen) else { return Verdict::Skip };
    match metrics.unscraped_count {
        0 => Verdict::Fine,
        count => Verdict::Warning(format!(
            "Prometheus has no series of {count} meshed pods: {}",
            among(&metrics.unscraped, count)
        )),
    }
}

/// The pods that are known by name, and how many there are besides.
pub(super) fn among(pods: &[String], count: u32) -> String {
    let shown = pods.iter().take(super::NAMED).cloned().collect::<Vec<_>>();
    let more = (count as usize).saturating_sub(shown.len());
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn window(seen: &Seen) -> Verdict {
    let Some(metrics) = measured(seen) else { return Verdict::Skip };
    match metrics.window_reason.trim_end_matches('.') {
        "" => Verdict::Fine,
        reason => Verdict::Warning(format!("rates are over {}s instead: {reason}", metrics.window_seconds)),
    }
}

fn policy_controller(seen: &Seen) -> Verdict {
    match api(seen).map(|api| &api.enforced) {
        None => Verdict::Skip,
        Some(Err(why)) => Verdict::Warning(why.clone()),
        Some(Ok(enforced)) if !enforced.drift.is_empty() => Verdict::Warning(named(&enforced.drift)),
        Some(Ok(enforced)) if enforced.compared == 0 => {
            Verdict::Warning("it was not asked: no port of a meshed pod of linkerd-mcp is known".to_owned())
        }
        Some(Ok(_)) => Verdict::Fine,
    }
}

fn api(seen: &Seen) -> Option<&ApiSeen> {
    seen.api.as_ref().ok()
}

pub(super) fn metrics(seen: &Seen) -> Option<&MetricsFreshness> {
    api(seen)?.freshness.metrics.as_ref()
}

/// None while nothing was ever measured: then there is nothing to say about its quality.
pub(super) fn measured(seen: &Seen) -> Option<&MetricsFreshness> {
    metrics(seen).filter(|metrics| metrics.as_of.is_some())
}
