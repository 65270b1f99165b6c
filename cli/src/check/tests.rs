use super::{
    report::Severity,
    seen::{ApiSeen, Binding, DeploymentSeen, Enforced, PodSeen, ProxySeen, TrustRoot},
    *,
};
use crate::golden;
use linkerd_mcp_proto::v1::{
    FeedFreshness, Freshness, KindState, MetricsFreshness, Position, TopologyFreshness,
};
use prost_types::Timestamp;
use std::collections::BTreeSet;

mod cluster;
mod data_plane;
mod graph;
mod installed;
mod pre;

const ALL: [Category; 3] = [PRE, INSTALLED, DATA_PLANE];

fn mk_pod(name: &str) -> PodSeen {
    PodSeen {
        name: name.to_owned(),
        phase: "Running".to_owned(),
        unready: Vec::new(),
        proxy: Some(ProxySeen { ready: true, version: Some("edge-26.8.3".to_owned()) }),
        says: None,
    }
}

fn mk_binding(name: &str, role: &str, account: &str) -> Binding {
    Binding { name: name.to_owned(), role: role.to_owned(), accounts: vec![account.to_owned()] }
}

fn mk_freshness() -> Freshness {
    Freshness {
        as_of: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
        metrics: Some(MetricsFreshness {
            as_of: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            window_seconds: 30,
            ..MetricsFreshness::default()
        }),
        topology: Some(TopologyFreshness { synced: true, not_synced: Vec::new() }),
        limited_to: Vec::new(),
        feed: Some(FeedFreshness { age_ms: 800, position: Some(Position::default()), connected: true }),
    }
}

const NOW: i64 = 1_800_000_000;

/// Valid since yesterday, and for so many days.
fn mk_root(days: i64) -> TrustRoot {
    TrustRoot {
        subject: "CN=root.linkerd.cluster.local".to_owned(),
        not_before_s: NOW - 86_400,
        not_after_s: NOW + days * 86_400,
    }
}

/// An installation in which all is well.
fn healthy() -> Seen {
    let deployment = DeploymentSeen {
        wanted: 2,
        available: 2,
        namespace_only: None,
        redis_url: Some("redis://mcp-redis.linkerd-mcp.svc.cluster.local:6379".to_owned()),
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    Seen {
        kubernetes: Ok("v1.34.1".to_owned()),
        namespaces: Ok(vec!["linkerd-mcp".to_owned()]),
        namespace: Some("linkerd-mcp".to_owned()),
        linkerd: Ok(Some(Some("edge-26.8.3".to_owned()))),
        trust_roots: Ok(Some(vec![mk_root(3_650)])),
        now_s: NOW,
        crds: Ok([
            "authorizationpolicies.policy.linkerd.io",
            "meshtlsauthentications.policy.linkerd.io",
            "networkauthentications.policy.linkerd.io",
            "servers.policy.linkerd.io",
        ]
        .map(|name| (name.to_owned(), None))
        .into_iter()
        .chain(
            ["httproutes.gateway.networking.k8s.io", "grpcroutes.gateway.networking.k8s.io"]
                .map(|name| (name.to_owned(), Some("v1.2.1".to_owned()))),
        )
        .collect()),
        cluster_roles: Ok(names(&["linkerd-linkerd-mcp-controller"])),
        cluster_role_bindings: Ok(vec![mk_binding(
            "linkerd-linkerd-mcp-controller",
            "linkerd-linkerd-mcp-controller",
            "linkerd-mcp/mcp-controller",
        )]),
        roles: Ok(names(&["linkerd/linkerd-mcp-controller-config", "linkerd/linkerd-mcp-api-trust"])),
        role_bindings: Ok(vec![
            mk_binding(
                "linkerd/linkerd-mcp-controller-config",
                "linkerd-mcp-controller-config",
                "linkerd-mcp/mcp-controller",
            ),
            mk_binding("linkerd/linkerd-mcp-api-trust", "linkerd-mcp-api-trust", "linkerd-mcp/mcp-api"),
        ]),
        missing_rights: Ok(Vec::new()),
        deployments: Ok(["mcp-controller", "mcp-api", "mcp-redis"]
            .map(|name| (name.to_owned(), deployment.clone()))
            .into()),
        pods: Ok(vec![mk_pod("linkerd-mcp/mcp-api-1"), mk_pod("linkerd-mcp/mcp-controller-1")]),
        api: Ok(ApiSeen {
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            freshness: mk_freshness(),
            enforced: Ok(Enforced { compared: 6, drift: Vec::new() }),
        }),
        data_plane_namespace: Ok(("shop".to_owned(), true)),
        data_plane: Ok(vec![mk_pod("shop/cart-1")]),
        ..Seen::nothing("linkerd")
    }
}

/// A cluster that is ready for an installation.
fn ready() -> Seen {
    Seen {
        namespaces: Ok(Vec::new()),
        namespace: None,
        missing_to_install: Ok(Vec::new()),
        lacking: Ok(Vec::new()),
        viz: Ok(vec!["linkerd-viz".to_owned()]),
        ..healthy()
    }
}

fn checks() -> Vec<(&'static str, Check)> {
    let of = |category: &Category| {
        let name = category.name;
        category.checks.iter().copied().flatten().map(move |check| (name, *check)).collect::<Vec<_>>()
    };
    ALL.iter().flat_map(of).collect()
}

fn breaks() -> impl Iterator<Item = &'static Break> {
    BREAKS.into_iter().flatten()
}

fn api(seen: &mut Seen) -> &mut ApiSeen {
    seen.api.as_mut().unwrap()
}

fn metrics(seen: &mut Seen) -> &mut MetricsFreshness {
    api(seen).freshness.metrics.as_mut().unwrap()
}

fn feed(seen: &mut Seen) -> &mut FeedFreshness {
    api(seen).freshness.feed.as_mut().unwrap()
}

fn pod(seen: &mut Seen) -> &mut PodSeen {
    &mut seen.pods.as_mut().unwrap()[0]
}

fn failed<T>() -> Looked<T> {
    Err(Gap::Failed("the Kubernetes API at https://k8s/ cannot be reached".to_owned()))
}

/// For each check at least one way to break it: its anchor, what is wrong, that done to a healthy installation, how grave
/// it is, and the sentence that says so.
type Break = (&'static str, &'static str, fn(&mut Seen), Severity, &'static str);

use Severity::{Error as E, Warning as W};

const OUR_VERSION: &str = env!("CARGO_PKG_VERSION");

const BREAKS: [&[Break]; 5] =
    [pre::BREAKS, cluster::BREAKS, installed::BREAKS, graph::BREAKS, data_plane::BREAKS];

#[test]
fn all_is_well_where_all_is_well() {
    for (seen, categories) in [(healthy(), &[INSTALLED, DATA_PLANE][..]), (ready(), &[PRE])] {
        let report = judge(categories, &seen);
        let outcomes = report.categories.iter().flat_map(|it| &it.outcomes);
        let bad: Vec<_> = outcomes.filter(|it| it.severity != Severity::Success).collect();
        assert!(bad.is_empty() && report.success() && !report.waits, "{bad:#?}");
        let checked: usize = report.categories.iter().map(|it| it.outcomes.len()).sum();
        let all: usize = categories.iter().flat_map(|it| it.checks).map(|it| it.len()).sum();
        assert_eq!(checked, all, "none is skipped");
    }
}

#[test]
fn each_check_can_be_broken_and_says_so() {
    for (anchor, _, break_it, severity, sentence) in breaks() {
        let (_, check) = checks().into_iter().find(|(_, check)| check.anchor == *anchor).unwrap();
        let (mut seen, categories) = match anchor.starts_with("pre-") {
            true => (ready(), &[PRE][..]),
            false => (healthy(), &[INSTALLED, DATA_PLANE][..]),
        };
        break_it(&mut seen);
        let report = judge(categories, &seen);
        let outcomes = report.categories.iter().flat_map(|it| &it.outcomes);
        let outcome = outcomes.clone().find(|it| it.description == check.description).unwrap();
        assert_eq!((outcome.severity, outcome.error.as_deref()), (*severity, Some(*sentence)), "{anchor}");
        assert_eq!(outcome.hint.as_deref(), Some(format!("{HINTS}{anchor}").as_str()));
        assert_eq!(report.success(), !outcomes.clone().any(|it| it.severity == E), "{anchor}");
        let last = outcomes.last().unwrap().description;
        let ends = check.fatal && *severity == E;
        assert_eq!(
            last == check.description,
            ends || *anchor == "mcp-data-plane-prom" || *anchor == "pre-mcp-prometheus"
        );
    }
}

#[test]
fn no_check_is_without_a_way_to_break_it() {
    for (_, check) in checks() {
        assert!(breaks().any(|(anchor, ..)| *anchor == check.anchor), "{}", check.anchor);
    }
}

#[test]
fn the_table_of_what_breaks_a_check_and_what_it_says_then_is_as_checked_in() {
    let mut table = "| check | broken by | what it says |\n|---|---|---|\n".to_owned();
    for (_, check) in checks() {
        for (anchor, how, _, severity, sentence) in breaks().filter(|it| it.0 == check.anchor) {
            let mark = if *severity == E { '\u{d7}' } else { '\u{203c}' };
            let row =
                format!("| `{anchor}` | {how} | {mark} {} |\n", sentence.replace(OUR_VERSION, "VERSION"));
            // What is checked before an installation and after it is in both categories.
            if !table.contains(&row) {
                table.push_str(&row);
            }
        }
    }
    assert_eq!(table.lines().count(), 2 + breaks().count(), "no row is lost, and none is there twice");
    golden::compare("check-breaks.md", &table);
}

#[test]
fn what_nobody_could_look_at_is_never_called_well() {
    let forbidden = |what: &str| Gap::Forbidden(format!("you may not {what}"));
    let blind = Seen {
        kubernetes: Ok("v1.34.1".to_owned()),
        namespace: Some("linkerd-mcp".to_owned()),
        namespaces: Err(forbidden("list namespaces")),
        linkerd: Err(forbidden("get configmaps")),
        crds: Err(forbidden("list customresourcedefinitions")),
        cluster_roles: Err(forbidden("list clusterroles")),
        cluster_role_bindings: Err(forbidden("list clusterrolebindings")),
        roles: Err(forbidden("list roles")),
        role_bindings: Err(forbidden("list rolebindings")),
        missing_rights: Err(forbidden("create subjectaccessreviews")),
        deployments: Err(forbidden("list deployments")),
        pods: Err(forbidden("list pods")),
        api: Err(forbidden("create pods/portforward")),
        data_plane_namespace: Err(forbidden("get namespaces")),
        data_plane: Err(forbidden("list pods")),
        missing_to_install: Err(forbidden("create selfsubjectaccessreviews")),
        lacking: Err(forbidden("get namespaces")),
        viz: Err(forbidden("list namespaces")),
        ..Seen::nothing("linkerd")
    };
    for seen in [blind, Seen { kubernetes: Ok("v1.34.1".to_owned()), ..Seen::nothing("linkerd") }] {
        let report = judge(&ALL, &seen);
        let outcomes = report.categories.iter().flat_map(|it| &it.outcomes);
        let well: BTreeSet<_> =
            outcomes.filter(|it| it.severity == Severity::Success).map(|it| it.description).collect();
        let known = ["Kubernetes version is supported", "can query the Kubernetes API"];
        assert!(well.iter().eq(&known), "{well:?}");
    }
}

#[test]
fn nothing_is_said_of_the_proxies_of_pods_that_are_not_there() {
    let mut seen = healthy();
    (seen.pods, seen.data_plane) = (Ok(Vec::new()), Ok(Vec::new()));
    let report = judge(&[INSTALLED, DATA_PLANE], &seen);
    for outcome in report.categories.iter().flat_map(|it| &it.outcomes) {
        let about = outcome.description.contains("injected") || outcome.description.contains("proxies are");
        assert!(!about || outcome.severity != Severity::Success, "{}", outcome.description);
    }
}

#[test]
fn only_what_may_still_be_starting_is_waited_for() {
    let mut seen = healthy();
    seen.pods.as_mut().unwrap()[0].phase = "Pending".to_owned();
    assert!(judge(&[INSTALLED], &seen).waits);
    let mut seen = healthy();
    seen.cluster_roles.as_mut().unwrap().clear();
    assert!(!judge(&[INSTALLED], &seen).waits);
    assert!(!judge(&[INSTALLED], &Seen { kubernetes: failed(), ..healthy() }).waits);
}

#[test]
fn an_api_without_a_feed_and_a_single_namespace_have_less_to_check() {
    let mut seen = healthy();
    api(&mut seen).freshness.feed = None;
    seen.deployments.as_mut().unwrap().get_mut("mcp-controller").unwrap().namespace_only =
        Some("shop".to_owned());
    seen.roles.as_mut().unwrap().insert("shop/linkerd-mcp-controller".to_owned());
    seen.role_bindings.as_mut().unwrap().push(mk_binding(
        "shop/linkerd-mcp-controller",
        "linkerd-mcp-controller",
        "linkerd-mcp/mcp-controller",
    ));
    seen.cluster_roles = Ok(BTreeSet::new());
    let report = judge(&[INSTALLED], &seen);
    let outcomes = &report.categories[0].outcomes;
    assert!(outcomes.iter().all(|it| it.severity == Severity::Success), "{outcomes:#?}");
    for absent in [
        "linkerd-mcp ClusterRoles exist",
        "linkerd-mcp ClusterRoleBindings exist",
        "linkerd-mcp API reaches Redis",
        "linkerd-mcp has a leader and a fresh feed",
    ] {
        assert!(!outcomes.iter().any(|it| it.description == absent), "{absent}");
    }
}

#[test]
fn the_report_of_a_healthy_installation_is_as_checked_in() {
    let report = judge(&[INSTALLED, DATA_PLANE], &healthy());
    golden::compare("check-healthy.txt", &report.table(false));
    golden::compare("check-healthy.json", &report.json().unwrap());
    assert_eq!(report.table(true), "Status check results are \u{221a}\n");
}

#[test]
fn the_report_of_a_broken_installation_is_as_checked_in() {
    let mut seen = healthy();
    for anchor in
        ["mcp-linkerd-version", "mcp-crb-exists", "mcp-pods-running", "mcp-redis", "mcp-prometheus-window"]
    {
        let (_, _, break_it, ..) = breaks().find(|(it, ..)| *it == anchor).unwrap();
        break_it(&mut seen);
    }
    let report = judge(&[INSTALLED, DATA_PLANE], &seen);
    golden::compare("check-broken.txt", &report.table(false));
    golden::compare("check-broken-short.txt", &report.table(true));
    golden::compare("check-broken.json", &report.json().unwrap());
}

#[test]
fn every_hint_leads_to_an_anchor_of_the_page_and_every_anchor_is_a_check() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/checks.md");
    let page = std::fs::read_to_string(page).unwrap();
    let written: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut anchors: Vec<&str> = Vec::new();
    for (_, check) in checks() {
        if !anchors.contains(&check.anchor) {
            anchors.push(check.anchor);
        }
        assert!(page.contains(check.description), "{}", check.description);
    }
    let sorted = |list: &[&'static str]| list.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(written.iter().copied().collect::<BTreeSet<_>>(), sorted(&anchors));
    assert_eq!(written.len(), anchors.len(), "none is there twice");
}

#[test]
fn what_comes_from_elsewhere_stays_on_its_line() {
    let seen = Seen { kubernetes: Err(Gap::Failed("no\n\u{221a} \u{1b}[2J".to_owned())), ..healthy() };
    let report = judge(&[INSTALLED], &seen);
    assert_eq!(
        report.table(false),
        format!(
            "linkerd-mcp\n-----------\n\u{d7} can query the Kubernetes API\n    no \u{221a} \\u{{1b}}[2J\n    see \
             {HINTS}mcp-kubernetes-api for hints\n\nStatus check results are \u{d7}\n"
        )
    );
}
