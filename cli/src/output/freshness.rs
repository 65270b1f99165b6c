//! How fresh an answer is, in sentences for stderr. Good news is one line; each trouble is a line of its own.

use linkerd_mcp_proto::v1::Freshness;

/// Kinds named before the rest is counted.
const KINDS_NAMED: usize = 5;
/// A replica that has heard nothing for so long is worth a word: several times the feed's own heartbeat.
const LATE_FEED_MS: u64 = 10_000;

/// The sentences.
pub(crate) fn sentences(freshness: Option<&Freshness>) -> Vec<String> {
    let Some(freshness) = freshness else {
        return vec!["The answer does not say how fresh it is.".to_owned()];
    };
    let mut said = vec![first(freshness)];
    said.extend(metrics(freshness));
    said.extend(unscraped(freshness));
    said.extend(topology(freshness));
    said.extend(feed(freshness));
    if !freshness.limited_to.is_empty() {
        said.push(format!("You may see these namespaces only: {}.", freshness.limited_to.join(", ")));
    }
    said
}

fn first(freshness: &Freshness) -> String {
    let as_of = match &freshness.as_of {
        Some(at) => format!("As of {at}"),
        None => "As of an unknown time".to_owned(),
    };
    match freshness.metrics.as_ref().filter(|metrics| metrics.window_seconds > 0) {
        Some(metrics) if metrics.window_reason.is_empty() => {
            format!("{as_of}, rates over {}s.", metrics.window_seconds)
        }
        Some(metrics) => {
            format!("{as_of}, rates over {}s ({}).", metrics.window_seconds, metrics.window_reason)
        }
        None => format!("{as_of}."),
    }
}

fn metrics(freshness: &Freshness) -> Option<String> {
    let metrics = freshness.metrics.as_ref().filter(|metrics| metrics.stale)?;
    let measured = match &metrics.as_of {
        Some(at) => format!("Numbers are stale, from {at}"),
        None => "There are no numbers".to_owned(),
    };
    let reason = metrics.reason.trim_end_matches('.');
    Some(if reason.is_empty() { format!("{measured}.") } else { format!("{measured}: {reason}.") })
}

fn unscraped(freshness: &Freshness) -> Option<String> {
    let metrics = freshness.metrics.as_ref().filter(|metrics| metrics.unscraped_count > 0)?;
    let example = metrics.unscraped.first().map(|pod| format!(", {pod} among them")).unwrap_or_default();
    let pods = if metrics.unscraped_count == 1 { "pod" } else { "pods" };
    Some(format!(
        "Prometheus has no metrics of {} meshed {pods}{example}: calls of theirs may be missing.",
        metrics.unscraped_count
    ))
}

fn topology(freshness: &Freshness) -> Option<String> {
    let topology = freshness.topology.as_ref().filter(|topology| !topology.synced)?;
    let named = topology.not_synced.iter().take(KINDS_NAMED).map(|kind| {
        let detail = kind.detail.trim_end_matches('.');
        if detail.is_empty() {
            format!("{} is {}", kind.kind, kind.state)
        } else {
            format!("{} is {} ({detail})", kind.kind, kind.state)
        }
    });
    let mut named = named.collect::<Vec<_>>().join(", ");
    if topology.not_synced.len() > KINDS_NAMED {
        named.push_str(&format!(" and {} more", topology.not_synced.len() - KINDS_NAMED));
    }
    Some(match named.is_empty() {
        true => "Not everything in the cluster has been read yet.".to_owned(),
        false => format!("Not everything in the cluster is known: {named}."),
    })
}

fn feed(freshness: &Freshness) -> Option<String> {
    let feed = freshness.feed.as_ref()?;
    let seconds = feed.age_ms / 1000;
    if !feed.connected {
        return Some(format!("The API has lost its feed and answers from its last graph, {seconds}s old."));
    }
    (feed.age_ms > LATE_FEED_MS)
        .then(|| format!("The API has heard nothing from the controller for {seconds}s."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use linkerd_mcp_proto::v1::{FeedFreshness, KindState, MetricsFreshness, TopologyFreshness};

    #[test]
    fn a_fresh_answer_is_one_line() {
        let graph = sample::graph();
        assert_eq!(
            sentences(graph.freshness.as_ref()),
            ["As of 2026-01-02T03:04:05Z, rates over 60s (Prometheus scrapes every 15s)."]
        );
    }

    #[test]
    fn every_trouble_is_said_with_its_reason() {
        let freshness = Freshness {
            as_of: None,
            metrics: Some(MetricsFreshness {
                stale: true,
                reason: "Prometheus answered 403.".into(),
                as_of: None,
                window_seconds: 0,
                window_reason: String::new(),
                unscraped: vec!["shop/cart-1".into()],
                unscraped_count: 3,
            }),
            topology: Some(TopologyFreshness {
                synced: false,
                not_synced: vec![KindState {
                    kind: "servers.policy.linkerd.io".into(),
                    state: "forbidden".into(),
                    detail: "RBAC".into(),
                }],
            }),
            feed: Some(FeedFreshness { age_ms: 42_000, position: None, connected: false }),
            limited_to: vec!["shop".to_owned(), "web".to_owned()],
        };
        assert_eq!(
            sentences(Some(&freshness)),
            [
                "As of an unknown time.",
                "There are no numbers: Prometheus answered 403.",
                "Prometheus has no metrics of 3 meshed pods, shop/cart-1 among them: calls of theirs may be missing.",
                "Not everything in the cluster is known: servers.policy.linkerd.io is forbidden (RBAC).",
                "The API has lost its feed and answers from its last graph, 42s old.",
                "You may see these namespaces only: shop, web.",
            ]
        );
        assert_eq!(sentences(None), ["The answer does not say how fresh it is."]);
    }
}
