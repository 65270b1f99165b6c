//! The API and where its graph comes from, broken.

use super::*;

pub(super) const BREAKS: &[Break] = &[
    (
        "mcp-api-answers",
        "nobody can reach the API",
        |it| it.api = Err(Gap::Failed("nothing listens".to_owned())),
        E,
        "nothing listens",
    ),
    (
        "mcp-api-cli-version",
        "the API is older than the command",
        |it| api(it).version = Some("0.0.1".to_owned()),
        W,
        concat!("the API is 0.0.1, this command is ", env!("CARGO_PKG_VERSION")),
    ),
    (
        "mcp-redis",
        "the API has lost Redis",
        |it| (feed(it).connected, feed(it).age_ms) = (false, 42_000),
        E,
        "the API has lost its feed and answers from a graph that is 42s old",
    ),
    (
        "mcp-leader",
        "nobody publishes",
        |it| feed(it).age_ms = 31_000,
        E,
        "the API has heard nothing for 31s: no controller leads, or the leader cannot publish",
    ),
    (
        "mcp-leader",
        "nobody has published since Redis began",
        |it| feed(it).position = None,
        E,
        "no controller has published a graph yet",
    ),
    (
        "mcp-topology-synced",
        "the controller may not read a kind",
        |it| {
            api(it).freshness.topology = Some(TopologyFreshness {
                synced: false,
                not_synced: vec![KindState {
                    kind: "servers.policy.linkerd.io".to_owned(),
                    state: "forbidden".to_owned(),
                    detail: "RBAC.".to_owned(),
                }],
            });
        },
        E,
        "servers.policy.linkerd.io is forbidden (RBAC)",
    ),
    (
        "mcp-prometheus",
        "Prometheus refuses",
        |it| {
            metrics(it).stale = true;
            metrics(it).reason = "Prometheus refuses us with 403.".to_owned();
        },
        E,
        "Prometheus refuses us with 403",
    ),
    (
        "mcp-prometheus-series",
        "Prometheus does not scrape some pods",
        |it| {
            metrics(it).unscraped_count = 30;
            metrics(it).unscraped = (0..20).map(|nth| format!("shop/cart-{nth}")).collect();
        },
        W,
        "Prometheus has no series of 30 meshed pods: shop/cart-0, shop/cart-1, shop/cart-2, shop/cart-3, shop/cart-4 and 25 \
         more",
    ),
    (
        "mcp-prometheus-window",
        "Prometheus scrapes too seldom for the window",
        |it| {
            metrics(it).window_seconds = 240;
            metrics(it).window_reason = "Prometheus scrapes every 60s.".to_owned();
        },
        W,
        "rates are over 240s instead: Prometheus scrapes every 60s",
    ),
    (
        "mcp-policy-controller",
        "the policy controller does not answer",
        |it| api(it).enforced = Err("it cannot be reached".to_owned()),
        W,
        "it cannot be reached",
    ),
    (
        "mcp-policy-controller",
        "the policy controller was asked nothing",
        |it| api(it).enforced = Ok(Enforced { compared: 0, drift: Vec::new() }),
        W,
        "it was not asked: no port of a meshed pod of linkerd-mcp is known",
    ),
    (
        "mcp-policy-controller",
        "the policy controller enforces something else",
        |it| {
            api(it).enforced =
                Ok(Enforced { compared: 1, drift: vec!["Port 1 is enforced otherwise.".to_owned()] })
        },
        W,
        "Port 1 is enforced otherwise.",
    ),
];
