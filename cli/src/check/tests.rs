use super::{
    report::Severity,
    seen::{ApiSeen, Binding, DeploymentSeen, Enforced, PodSeen, ProxySeen},
    *,
};
use crate::golden;
use linkerd_mcp_proto::v1::{
    FeedFreshness, Freshness, KindState, MetricsFreshness, Position, TopologyFreshness,
};
use prost_types::Timestamp;
use std::collections::BTreeSet;

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
        feed: Some(FeedFreshness { age_ms: 800, position: Some(Position::default()), connected: true }),
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

type Break = (&'static str, fn(&mut Seen), Severity, &'static str);

use Severity::{Error as E, Warning as W};

/// For each check at least one way to break it, how grave that is, and the sentence that says so.
const BREAKS: &[Break] = &[
    (
        "mcp-kubernetes-api",
        |it| it.kubernetes = failed(),
        E,
        "the Kubernetes API at https://k8s/ cannot be reached",
    ),
    (
        "mcp-kubernetes-api",
        |it| it.kubernetes = Err(Gap::Forbidden("you may not ask".to_owned())),
        E,
        "cannot be checked: you may not ask",
    ),
    (
        "mcp-kubernetes-version",
        |it| it.kubernetes = Ok("v1.29.4+k3s1".to_owned()),
        W,
        "Kubernetes is v1.29.4+k3s1; v1.31 or newer is needed",
    ),
    (
        "mcp-kubernetes-version",
        |it| it.kubernetes = Ok("2".to_owned()),
        W,
        "the version of Kubernetes is not understood: 2",
    ),
    (
        "mcp-ns-exists",
        |it| (it.namespaces, it.namespace) = (Ok(Vec::new()), None),
        E,
        "no Namespace has the label linkerd.io/extension=mcp: linkerd-mcp is not installed, or its Namespace is not labelled",
    ),
    (
        "mcp-ns-exists",
        |it| it.namespace = Some("mine".to_owned()),
        E,
        "there is no Namespace mine with the label linkerd.io/extension=mcp; that label is on linkerd-mcp",
    ),
    (
        "mcp-ns-exists",
        |it| it.namespaces = Err(Gap::Forbidden("you may not list namespaces".to_owned())),
        W,
        "cannot be checked: you may not list namespaces",
    ),
    (
        "mcp-ns-unique",
        |it| it.namespaces.as_mut().unwrap().push("other".to_owned()),
        W,
        "several Namespaces have the label linkerd.io/extension=mcp: linkerd-mcp, other; name one with --mcp-namespace",
    ),
    (
        "mcp-linkerd-exists",
        |it| it.linkerd = Ok(None),
        E,
        "there is no ConfigMap linkerd-config in Namespace linkerd: Linkerd is not installed there; --linkerd-namespace names \
         another",
    ),
    (
        "mcp-linkerd-exists",
        |it| it.linkerd = Err(Gap::Forbidden("you may not get it".to_owned())),
        W,
        "cannot be checked: you may not get it",
    ),
    (
        "mcp-linkerd-version",
        |it| it.linkerd = Ok(Some(Some("stable-2.14.10".to_owned()))),
        W,
        "Linkerd is stable-2.14.10; 2.17 or edge-24.11 or newer is needed",
    ),
    (
        "mcp-linkerd-version",
        |it| it.linkerd = Ok(Some(None)),
        W,
        "the ConfigMap linkerd-config has no linkerdVersion",
    ),
    (
        "mcp-linkerd-crds",
        |it| drop(it.crds.as_mut().unwrap().remove("servers.policy.linkerd.io")),
        E,
        "missing CustomResourceDefinitions: servers.policy.linkerd.io",
    ),
    (
        "mcp-gateway-api-version",
        |it| drop(it.crds.as_mut().unwrap().remove("grpcroutes.gateway.networking.k8s.io")),
        W,
        "the CustomResourceDefinition grpcroutes.gateway.networking.k8s.io is missing: its routes are not known",
    ),
    (
        "mcp-gateway-api-version",
        |it| {
            let crds = it.crds.as_mut().unwrap();
            crds.insert("httproutes.gateway.networking.k8s.io".to_owned(), Some("v0.8.1".to_owned()));
        },
        W,
        "httproutes.gateway.networking.k8s.io is from Gateway API v0.8.1; v1.1.1 or newer is needed",
    ),
    (
        "mcp-cr-exists",
        |it| it.cluster_roles.as_mut().unwrap().clear(),
        E,
        "missing ClusterRoles: linkerd-linkerd-mcp-controller",
    ),
    (
        "mcp-crb-exists",
        |it| it.cluster_role_bindings.as_mut().unwrap().clear(),
        E,
        "missing or wrong ClusterRoleBindings: linkerd-linkerd-mcp-controller",
    ),
    (
        "mcp-crb-exists",
        |it| it.cluster_role_bindings.as_mut().unwrap()[0].accounts.clear(),
        E,
        "missing or wrong ClusterRoleBindings: linkerd-linkerd-mcp-controller (does not bind ServiceAccount \
         linkerd-mcp/mcp-controller)",
    ),
    (
        "mcp-crb-exists",
        |it| it.cluster_role_bindings.as_mut().unwrap()[0].role = "view".to_owned(),
        E,
        "missing or wrong ClusterRoleBindings: linkerd-linkerd-mcp-controller (binds view, not \
         linkerd-linkerd-mcp-controller)",
    ),
    (
        "mcp-roles-exist",
        |it| it.roles.as_mut().unwrap().clear(),
        E,
        "missing or wrong: Role linkerd/linkerd-mcp-controller-config, Role linkerd/linkerd-mcp-api-trust",
    ),
    (
        "mcp-roles-exist",
        |it| {
            let controller = it.deployments.as_mut().unwrap().get_mut("mcp-controller").unwrap();
            controller.namespace_only = Some("shop".to_owned());
        },
        E,
        "missing or wrong: Role shop/linkerd-mcp-controller, RoleBinding shop/linkerd-mcp-controller",
    ),
    (
        "mcp-rbac-sufficient",
        |it| it.missing_rights = Ok(vec!["list pods".to_owned(), "watch pods".to_owned()]),
        E,
        "ServiceAccount mcp-controller may not list pods, watch pods",
    ),
    (
        "mcp-rbac-sufficient",
        |it| it.missing_rights = Err(Gap::Forbidden("you may not ask".to_owned())),
        W,
        "cannot be checked: you may not ask",
    ),
    (
        "mcp-deployments-exist",
        |it| it.deployments.as_mut().unwrap().retain(|name, _| name == "mcp-api"),
        E,
        "missing Deployments: mcp-controller, mcp-redis",
    ),
    (
        "mcp-pods-injection",
        |it| pod(it).proxy = None,
        E,
        "pods without a linkerd-proxy: linkerd-mcp/mcp-api-1",
    ),
    (
        "mcp-pods-running",
        |it| pod(it).unready = vec!["mcp-api (CrashLoopBackOff)".to_owned()],
        E,
        "linkerd-mcp/mcp-api-1 is not ready: mcp-api (CrashLoopBackOff)",
    ),
    (
        "mcp-pods-running",
        |it| {
            pod(it).unready = vec!["mcp-api".to_owned()];
            pod(it).says = Some("no snapshot has come yet".to_owned());
        },
        E,
        "linkerd-mcp/mcp-api-1 is not ready: mcp-api; it says: no snapshot has come yet",
    ),
    ("mcp-pods-running", |it| pod(it).phase = "Pending".to_owned(), E, "linkerd-mcp/mcp-api-1 is Pending"),
    (
        "mcp-pods-running",
        |it| it.pods.as_mut().unwrap().clear(),
        E,
        "there are no pods with the label linkerd.io/extension=mcp",
    ),
    (
        "mcp-pods-running",
        |it| it.deployments.as_mut().unwrap().get_mut("mcp-api").unwrap().available = 1,
        E,
        "Deployment mcp-api has 1 of 2 replicas available",
    ),
    (
        "mcp-proxy-healthy",
        |it| pod(it).proxy.as_mut().unwrap().ready = false,
        E,
        "proxies that are not ready: linkerd-mcp/mcp-api-1",
    ),
    (
        "mcp-proxy-cp-version",
        |it| pod(it).proxy.as_mut().unwrap().version = Some("edge-26.1.1".to_owned()),
        W,
        "Linkerd is edge-26.8.3, and these proxies are not: linkerd-mcp/mcp-api-1 (edge-26.1.1); restart the pods",
    ),
    ("mcp-api-answers", |it| it.api = Err(Gap::Failed("nothing listens".to_owned())), E, "nothing listens"),
    (
        "mcp-api-cli-version",
        |it| api(it).version = Some("0.0.1".to_owned()),
        W,
        concat!("the API is 0.0.1, this command is ", env!("CARGO_PKG_VERSION")),
    ),
    (
        "mcp-redis",
        |it| (feed(it).connected, feed(it).age_ms) = (false, 42_000),
        E,
        "the API has lost its feed and answers from a graph that is 42s old",
    ),
    (
        "mcp-leader",
        |it| feed(it).age_ms = 31_000,
        E,
        "the API has heard nothing for 31s: no controller leads, or the leader cannot publish",
    ),
    ("mcp-leader", |it| feed(it).position = None, E, "no controller has published a graph yet"),
    (
        "mcp-topology-synced",
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
        |it| {
            metrics(it).stale = true;
            metrics(it).reason = "Prometheus refuses us with 403.".to_owned();
        },
        E,
        "Prometheus refuses us with 403",
    ),
    (
        "mcp-prometheus-series",
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
        |it| {
            metrics(it).window_seconds = 240;
            metrics(it).window_reason = "Prometheus scrapes every 60s.".to_owned();
        },
        W,
        "rates are over 240s instead: Prometheus scrapes every 60s",
    ),
    (
        "mcp-policy-controller",
        |it| api(it).enforced = Err("it cannot be reached".to_owned()),
        W,
        "it cannot be reached",
    ),
    (
        "mcp-policy-controller",
        |it| api(it).enforced = Ok(Enforced { compared: 0, drift: Vec::new() }),
        W,
        "it was not asked: no port of a meshed pod of linkerd-mcp is known",
    ),
    (
        "mcp-policy-controller",
        |it| {
            api(it).enforced =
                Ok(Enforced { compared: 1, drift: vec!["Port 1 is enforced otherwise.".to_owned()] })
        },
        W,
        "Port 1 is enforced otherwise.",
    ),
    (
        "pre-mcp-not-installed",
        |it| it.namespaces = Ok(vec!["linkerd-mcp".to_owned()]),
        W,
        "it is installed in Namespace linkerd-mcp; installing it there again is an upgrade",
    ),
    (
        "pre-mcp-can-install",
        |it| it.missing_to_install = Ok(vec!["create namespaces".to_owned()]),
        E,
        "you may not create namespaces",
    ),
    (
        "pre-mcp-prometheus",
        |it| it.viz = Ok(Vec::new()),
        W,
        "no Namespace has the label linkerd.io/extension=viz: name a Prometheus with --set prometheus.url=..., or the graph \
         has no numbers",
    ),
    (
        "mcp-data-plane-ns-exists",
        |it| it.data_plane_namespace = Ok(("shop".to_owned(), false)),
        E,
        "there is no Namespace shop",
    ),
    (
        "mcp-data-plane-proxy-healthy",
        |it| it.data_plane.as_mut().unwrap()[0].proxy.as_mut().unwrap().ready = false,
        E,
        "proxies that are not ready: shop/cart-1",
    ),
    (
        "mcp-data-plane-proxy-healthy",
        |it| it.data_plane.as_mut().unwrap().clear(),
        W,
        "there are no pods with a linkerd-proxy",
    ),
    (
        "mcp-data-plane-cp-version",
        |it| it.data_plane.as_mut().unwrap()[0].proxy.as_mut().unwrap().version = Some("old".to_owned()),
        W,
        "Linkerd is edge-26.8.3, and these proxies are not: shop/cart-1 (old)",
    ),
    (
        "mcp-data-plane-prom",
        |it| {
            (metrics(it).unscraped, metrics(it).unscraped_count) =
                (vec!["a/b-1".into(), "shop/cart-1".into()], 2)
        },
        W,
        "Prometheus has no series of shop/cart-1",
    ),
    (
        "mcp-data-plane-prom",
        |it| (metrics(it).unscraped, metrics(it).unscraped_count) = (vec!["a/b-1".into()], 21),
        W,
        "Prometheus has no series of 21 pods; whether some are in shop is not known",
    ),
];

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
    for (anchor, break_it, severity, sentence) in BREAKS {
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
        assert!(BREAKS.iter().any(|(anchor, ..)| *anchor == check.anchor), "{}", check.anchor);
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
        let (_, break_it, ..) = BREAKS.iter().find(|(it, ..)| *it == anchor).unwrap();
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
