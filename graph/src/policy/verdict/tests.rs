//! Verdicts for each rule of what Linkerd enforces: one test per sentence, the sentence is its name.

use super::*;
use crate::{
    fact::{Change, ContainerPort, Fact, Key, Labels, Pod, PolicyObject, Probe},
    facts::Touched,
    policy::DefaultPolicy,
};
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc};

mod precedence;
mod properties;

const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";
const BOT: &str = "bot.shop.serviceaccount.identity.linkerd.cluster.local";
const SPIFFE: &str = "spiffe://root.example/vm";

/// Objects of namespace `shop`, among them a pod `db` with port 8080 named `http` and a probe `/live` on it.
struct World {
    facts: Facts,
    cluster: PolicyCluster,
}

// === impl World ===

impl World {
    fn new() -> Self {
        Self::with_annotations(&[])
    }

    fn with_annotations(annotations: &[(&str, &str)]) -> Self {
        let prefixed = annotations
            .iter()
            .map(|(name, value)| (Text::from(format!("config.linkerd.io/{name}")), Text::from(*value)));
        Self { facts: Facts::default(), cluster: PolicyCluster::default() }
            .fact(Fact::Pod(Arc::new(Pod { annotations: Arc::new(prefixed.collect()), ..mk_pod() })))
    }

    fn fact(mut self, fact: Fact) -> Self {
        self.facts.change(Change::Apply(fact), &mut Touched::default());
        self
    }

    /// A policy object; those of lower `minute` are older.
    fn object(self, kind: Kind, name: &str, minute: i64, spec: Value) -> Self {
        self.fact(Fact::Policy(Arc::new(mk_object(kind, name, minute, spec))))
    }

    /// A Server on port `http` of the pod.
    fn server(self, name: &str, fields: Value) -> Self {
        let mut spec = json!({"podSelector": {"matchLabels": {"app": "db"}}, "port": "http"});
        merge(&mut spec, fields);
        self.object(Kind::Server, name, 1, spec)
    }

    /// An AuthorizationPolicy that lets in a ServiceAccount, or anybody.
    fn policy(self, name: &str, target: Value, account: Option<&str>) -> Self {
        let required = account.map(|name| json!({"kind": "ServiceAccount", "name": name}));
        let required: Vec<Value> = required.into_iter().collect();
        let spec = json!({"targetRef": target, "requiredAuthenticationRefs": required});
        self.object(Kind::AuthorizationPolicy, name, 3, spec)
    }

    /// A route of Linkerd's group on the Server `s`.
    fn route(self, name: &str, rules: Value) -> Self {
        self.object(Kind::LinkerdHTTPRoute, name, 4, json!({"parentRefs": [on_server("s")], "rules": rules}))
    }

    fn check(&self, client: &Client, request: Option<&Request>) -> Verdict {
        let db = WorkloadKey::Pod(Key::new("shop", "db"));
        check_access(&self.facts, &self.cluster, client, &db, 8080, request).unwrap()
    }

    /// The decision and what it names, as one line.
    fn says(&self, client: &Client, request: Option<&Request>) -> String {
        let verdict = self.check(client, request);
        let origins: Vec<String> = verdict.origins().iter().map(name_of).collect();
        format!("{:?}: {}", verdict.decision, origins.join(" "))
    }
}

fn name_of(origin: &Origin) -> String {
    match origin {
        Origin::Object(id) => id.as_str().replace("/shop/", "/"),
        Origin::Default(name) => format!("default/{name}"),
    }
}

fn mk_pod() -> Pod {
    let label = |name: &str, value: &str| (Text::from(name), Text::from(value));
    Pod {
        key: Key::new("shop", "db"),
        owner: None,
        service_account: "db".into(),
        ips: Vec::new(),
        labels: Arc::new([label("app", "db"), label("linkerd.io/control-plane-ns", "linkerd")].into()),
        annotations: Labels::default(),
        control_plane: Some("linkerd".into()),
        proxy: Proxy::NativeSidecar,
        ports: [ContainerPort { port: 8080, name: "http".into(), protocol: "TCP".into() }].into(),
        probes: [Probe { port: 8080, path: "/live".into() }].into(),
        ready: true,
        ended: false,
        host_network: false,
    }
}

fn mk_object(kind: Kind, name: &str, minute: i64, spec: Value) -> PolicyObject {
    let row = kind.row();
    PolicyObject {
        kind,
        key: Key::new("shop", name),
        api_version: format!("{}/{}", row.group, row.versions[0]).into(),
        labels: Labels::default(),
        created_ms: Some(minute * 60_000),
        spec: Arc::new(spec),
        status: Arc::default(),
    }
}

fn merge(into: &mut Value, fields: Value) {
    let (Value::Object(into), Value::Object(fields)) = (into, fields) else { panic!("objects") };
    into.extend(fields);
}

fn on_server(name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": "Server", "name": name})
}

fn on_route(name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": "HTTPRoute", "name": name})
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn meshed(identity: &str) -> Client {
    Client::meshed(identity, address("10.1.0.9"))
}

fn stranger() -> Client {
    Client::unmeshed(address("203.0.113.9"))
}

fn get(path: &str) -> Request {
    Request::new("GET", path)
}

fn prefix_rule(path: &str) -> Value {
    json!([{"matches": [{"path": {"type": "PathPrefix", "value": path}}]}])
}

// --- where no policy is enforced ---

#[test]
fn a_client_on_loopback_is_always_let_in() {
    let world = World::with_annotations(&[("default-inbound-policy", "deny")]);
    for local in ["127.0.0.1", "::1"] {
        let verdict = world.check(&Client::unmeshed(address(local)), None);
        assert_eq!(verdict, Verdict::certain(Decision::Allow, Reason::Loopback));
    }
    assert_eq!(
        world.says(&Client::unmeshed(address("127.0.0.2")), Some(&get("/"))),
        "Deny: default/deny default/default"
    );
}

#[test]
fn a_port_that_skips_the_proxy_has_no_policy() {
    let deny = ("default-inbound-policy", "deny");
    let skipping = |ports| World::with_annotations(&[deny, ("skip-inbound-ports", ports)]);
    let verdict = skipping("25,8000-8080").check(&stranger(), None);
    assert_eq!(verdict.reasons, [Reason::PortSkipped { ports: "25,8000-8080".into() }]);
    assert_eq!(skipping("25,8081").check(&stranger(), None).decision, Decision::Deny);
}

#[test]
fn a_pod_without_a_proxy_has_no_policy() {
    let bare = |host_network, labels| {
        let annotations: Labels =
            Arc::new([("config.linkerd.io/default-inbound-policy".into(), "deny".into())].into());
        let pod = Pod { proxy: Proxy::Absent, host_network, labels, annotations, ..mk_pod() };
        World::new().fact(Fact::Pod(Arc::new(pod))).check(&stranger(), None)
    };
    let allowed = Verdict::certain(Decision::Allow, Reason::TargetNotMeshed);
    assert_eq!(bare(false, Labels::default()), allowed);
    assert_eq!(bare(true, mk_pod().labels), allowed);
    // The injector's label alone stands for the proxy in manifests that were not injected.
    assert_eq!(bare(false, mk_pod().labels).decision, Decision::Deny);
}

#[test]
fn a_target_that_does_not_exist_is_no_verdict() {
    let world = World::new();
    let gone = WorkloadKey::Pod(Key::new("shop", "gone"));
    let answer = check_access(&world.facts, &world.cluster, &stranger(), &gone, 8080, None);
    assert_eq!(answer, Err(Unanswerable::NoPod(Key::new("shop", "gone"))));
}

// --- which Server, and without one ---

#[test]
fn the_oldest_server_then_the_first_by_name_decides_and_the_others_are_shadowed() {
    let spec = |access: &str| json!({"podSelector": {}, "port": 8080, "accessPolicy": access});
    let world = World::new()
        .object(Kind::Server, "c-old", 1, spec("all-unauthenticated"))
        .object(Kind::Server, "a-young", 2, spec("deny"))
        .object(Kind::Server, "d-old", 1, spec("deny"));
    assert_eq!(
        world.says(&stranger(), None),
        "Allow: server/c-old server/d-old server/a-young default/all-unauthenticated"
    );
}

#[test]
fn without_a_server_the_pods_default_policy_decides_for_each_sort_of_client() {
    let inside = Client::unmeshed(address("10.1.0.9"));
    let far = Client::meshed(BOT, address("203.0.113.9"));
    let table = [
        ("all-unauthenticated", "AAAAA"),
        ("all-authenticated", "DDAAD"),
        ("cluster-unauthenticated", "DAADA"),
        ("cluster-authenticated", "DDADD"),
        ("deny", "DDDDD"),
        ("audit", "UUUUU"),
    ];
    for (policy, row) in table {
        let world = World::with_annotations(&[("default-inbound-policy", policy)]);
        let clients = [stranger(), inside.clone(), meshed(WEB), far.clone(), meshed(SPIFFE)];
        let decisions: String = clients
            .iter()
            .map(|client| match world.check(client, Some(&get("/"))).decision {
                Decision::Allow => 'A',
                Decision::Audit => 'U',
                Decision::Deny => 'D',
                Decision::UnmatchedRoute => '4',
            })
            .collect();
        assert_eq!(decisions, row, "{policy}");
    }
}

#[test]
fn the_clusters_default_holds_where_the_pod_names_none_or_nonsense() {
    for annotations in [&[][..], &[("default-inbound-policy", "Deny")]] {
        let mut world = World::with_annotations(annotations);
        world.cluster.default_policy = DefaultPolicy::AllAuthenticated;
        assert_eq!(world.says(&stranger(), None), "Deny: default/all-authenticated default/probe");
    }
}

#[test]
fn a_port_that_requires_identity_lets_in_clients_with_one_only() {
    let world = World::with_annotations(&[("proxy-require-identity-inbound-ports", "8080")]);
    assert_eq!(world.says(&meshed(WEB), Some(&get("/"))), "Allow: default/all-authenticated default/default");
    assert_eq!(world.check(&stranger(), Some(&get("/"))).decision, Decision::Deny);
}

#[test]
fn a_server_that_cannot_be_read_leaves_the_default_policy_in_force() {
    let world = World::new().server("s", json!({"proxyProtocol": "HTTP/3", "accessPolicy": "deny"}));
    assert_eq!(world.says(&stranger(), None), "Allow: default/all-unauthenticated");
}

// --- who authorizes ---

#[test]
fn authorizations_on_the_server_by_name_by_label_by_policy_by_namespace_and_its_access_policy_all_count() {
    let deny = World::new().server("s", json!({"accessPolicy": "deny"}));
    assert_eq!(deny.check(&meshed(WEB), None).decision, Decision::Deny);
    let server = || World::new().server("s", json!({}));
    let client = json!({"meshTLS": {"serviceAccounts": [{"name": "web"}]}});
    let by_name = json!({"server": {"name": "s"}, "client": client});
    let by_label = json!({"server": {"selector": {}}, "client": client});
    let namespace = json!({"kind": "Namespace", "name": "shop"});
    for (world, by) in [
        (server().object(Kind::ServerAuthorization, "z", 2, by_name), "serverauthorization/z"),
        (server().object(Kind::ServerAuthorization, "z", 2, by_label), "serverauthorization/z"),
        (server().policy("p", on_server("s"), Some("web")), "authorizationpolicy/p"),
        (server().policy("p", namespace, Some("web")), "authorizationpolicy/p"),
        (World::new().server("s", json!({"accessPolicy": "all-authenticated"})), "default/all-authenticated"),
    ] {
        assert_eq!(world.says(&meshed(WEB), None), format!("Allow: server/s {by}"));
    }
}

#[test]
fn a_policy_on_a_namespace_does_not_reach_a_port_without_a_server() {
    let namespace = json!({"kind": "Namespace", "name": "shop"});
    let world = World::with_annotations(&[("default-inbound-policy", "deny")]).policy("p", namespace, None);
    assert_eq!(world.says(&meshed(WEB), Some(&get("/"))), "Deny: default/deny default/default");
}

#[test]
fn all_references_of_a_policy_must_hold_at_once_and_a_missing_one_spoils_it() {
    let references = |name: &str| {
        json!({"targetRef": on_server("s"), "requiredAuthenticationRefs": [
            {"kind": "ServiceAccount", "name": "web"},
            {"group": "policy.linkerd.io", "kind": "NetworkAuthentication", "name": name}
        ]})
    };
    let near = json!({"networks": [{"cidr": "10.1.0.0/16"}]});
    let world = |name| {
        World::new()
            .server("s", json!({}))
            .object(Kind::NetworkAuthentication, "near", 2, near.clone())
            .object(Kind::AuthorizationPolicy, "p", 3, references(name))
    };
    let far = Client::meshed(WEB, address("10.2.0.1"));
    assert_eq!(world("near").says(&meshed(WEB), None), "Allow: server/s authorizationpolicy/p");
    assert_eq!(world("near").check(&far, None).decision, Decision::Deny);
    assert_eq!(world("near").check(&meshed(BOT), None).decision, Decision::Deny);
    let spoiled = world("gone").check(&meshed(WEB), None);
    assert_eq!(spoiled.decision, Decision::Deny);
    assert!(spoiled.reasons.contains(&Reason::NoAuthorization), "{spoiled:?}");
}

#[test]
fn a_server_authorization_without_networks_is_for_the_cluster_and_a_policy_for_everywhere() {
    let anybody = json!({"server": {"name": "s"}, "client": {"unauthenticated": true}});
    let server = || World::new().server("s", json!({}));
    let authorized = server().object(Kind::ServerAuthorization, "z", 2, anybody);
    assert_eq!(authorized.check(&stranger(), None).decision, Decision::Deny);
    assert_eq!(authorized.check(&Client::unmeshed(address("10.9.9.9")), None).decision, Decision::Allow);
    assert_eq!(server().policy("p", on_server("s"), None).check(&stranger(), None).decision, Decision::Allow);
}

#[test]
fn a_server_authorization_without_a_client_lets_nobody_in() {
    for client in [json!({}), json!({"meshTLS": {}}), json!({"networks": [{"cidr": "0.0.0.0/0"}]})] {
        let spec = json!({"server": {"name": "s"}, "client": client});
        let world = World::new().server("s", json!({})).object(Kind::ServerAuthorization, "z", 2, spec);
        assert!(world.check(&meshed(WEB), None).reasons.contains(&Reason::NoAuthorization));
    }
}

#[test]
fn a_network_holds_without_its_exceptions_and_an_unknown_address_is_in_no_part_of_it() {
    let networks = json!({"networks": [{"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}]});
    let reference = json!([{"group": "policy.linkerd.io", "kind": "NetworkAuthentication", "name": "n"}]);
    let world =
        World::new().server("s", json!({})).object(Kind::NetworkAuthentication, "n", 2, networks).object(
            Kind::AuthorizationPolicy,
            "p",
            3,
            json!({"targetRef": on_server("s"), "requiredAuthenticationRefs": reference}),
        );
    for (from, refusal) in [
        (address("10.2.0.1"), None),
        (address("10.1.0.1"), Some(Refusal::Network)),
        (address("fd00::1"), Some(Refusal::Network)),
        (None, Some(Refusal::AddressUnknown)),
    ] {
        let verdict = world.check(&Client::unmeshed(from), None);
        let authorization = Origin::Object(PolicyId::new("authorizationpolicy", "shop", "p"));
        let reason = match refusal {
            Some(because) => Reason::Refuses { authorization, because },
            None => Reason::Admits { authorization },
        };
        assert!(verdict.reasons.contains(&reason), "{from:?}: {verdict:?}");
    }
}

#[test]
fn identities_match_exactly_and_stars_match_dns_identities_only() {
    let no_identity = Client { identity: None, ..meshed(WEB) };
    let table: [(&str, Client, Option<Refusal>); 11] = [
        (WEB, meshed(WEB), None),
        (WEB, meshed(BOT), Some(Refusal::Identity)),
        (WEB, meshed(&WEB.to_uppercase()), Some(Refusal::Identity)),
        ("*", meshed(WEB), None),
        ("*", meshed(SPIFFE), Some(Refusal::SpiffeNeedsExactMatch)),
        ("*", no_identity, Some(Refusal::NoIdentity)),
        ("*", Client::unmeshed(address("10.1.0.9")), Some(Refusal::NotMeshed)),
        ("*.cluster.local", meshed(WEB), None),
        ("*.luster.local", meshed(WEB), Some(Refusal::Identity)),
        ("*.cluster.local", meshed("cluster.local"), Some(Refusal::Identity)),
        (SPIFFE, meshed(SPIFFE), None),
    ];
    let reference = json!([{"group": "policy.linkerd.io", "kind": "MeshTLSAuthentication", "name": "m"}]);
    for (identity, client, refusal) in table {
        let world = World::new()
            .server("s", json!({}))
            .object(Kind::MeshTLSAuthentication, "m", 2, json!({"identities": [identity]}))
            .object(
                Kind::AuthorizationPolicy,
                "p",
                3,
                json!({"targetRef": on_server("s"), "requiredAuthenticationRefs": reference}),
            );
        let verdict = world.check(&client, None);
        let authorization = Origin::Object(PolicyId::new("authorizationpolicy", "shop", "p"));
        let reason = match refusal {
            Some(because) => Reason::Refuses { authorization, because },
            None => Reason::Admits { authorization },
        };
        assert!(verdict.reasons.contains(&reason), "{identity} {client:?}: {verdict:?}");
    }
}

#[test]
fn tls_without_an_identity_passes_where_the_spec_asks_for_tls_alone() {
    let spec = json!({"server": {"name": "s"}, "client": {"meshTLS": {"unauthenticatedTLS": true}}});
    let world = World::new().server("s", json!({})).object(Kind::ServerAuthorization, "z", 2, spec);
    let no_identity = Client { identity: None, ..meshed(WEB) };
    assert_eq!(world.check(&no_identity, None).decision, Decision::Allow);
    assert_eq!(world.check(&meshed(SPIFFE), None).decision, Decision::Allow);
    assert_eq!(world.check(&Client::unmeshed(address("10.1.0.9")), None).decision, Decision::Deny);
}

#[test]
fn a_call_through_a_gateway_is_judged_by_the_gateways_identity() {
    let gateway = "gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
    let world = World::new().server("s", json!({})).policy("p", on_server("s"), Some("web"));
    assert_eq!(world.check(&meshed(gateway), None).decision, Decision::Deny);
}

#[test]
fn audit_lets_in_and_says_so_only_where_nothing_else_does() {
    let world =
        World::new().server("s", json!({"accessPolicy": "audit"})).policy("p", on_server("s"), Some("web"));
    assert_eq!(world.says(&meshed(WEB), None), "Allow: server/s default/audit authorizationpolicy/p");
    assert_eq!(world.says(&stranger(), None), "Audit: server/s default/audit");
    assert!(world.check(&stranger(), None).is_let_in());
}

// --- routes ---

#[test]
fn without_routes_probes_are_let_in_from_the_probe_networks_by_get_on_the_exact_path() {
    let world = World::new().server("s", json!({"proxyProtocol": "HTTP/1"}));
    assert_eq!(world.says(&stranger(), Some(&get("/live"))), "Allow: server/s default/probe");
    assert_eq!(world.says(&stranger(), Some(&get("/live/x"))), "Deny: server/s default/default");
    assert_eq!(
        world.says(&stranger(), Some(&Request::new("POST", "/live"))),
        "Deny: server/s default/default"
    );
    let mut near = world;
    near.cluster.probe_networks = vec!["10.0.0.0/8".parse().unwrap()];
    assert_eq!(near.check(&stranger(), Some(&get("/live"))).decision, Decision::Deny);
}

#[test]
fn any_attached_route_ends_the_probes_and_a_request_that_none_takes_gets_404_whoever_asks() {
    let world = World::new()
        .server("s", json!({"accessPolicy": "all-unauthenticated"}))
        .route("api", prefix_rule("/api"));
    let unmatched = "UnmatchedRoute: server/s httproute.policy.linkerd.io/api";
    assert_eq!(world.says(&stranger(), Some(&get("/live"))), unmatched);
    assert_eq!(world.says(&meshed(WEB), Some(&get("/other"))), unmatched);
}

#[test]
fn an_allow_on_the_server_opens_all_its_routes_and_one_on_a_route_that_route_only() {
    let world = World::new()
        .server("s", json!({}))
        .route("api", prefix_rule("/api"))
        .route("shop", prefix_rule("/shop"))
        .policy("on-route", on_route("api"), Some("bot"))
        .policy("on-server", on_server("s"), Some("web"));
    let api = "httproute.policy.linkerd.io/api";
    assert_eq!(
        world.says(&meshed(WEB), Some(&get("/api"))),
        format!("Allow: server/s {api} authorizationpolicy/on-server")
    );
    assert_eq!(
        world.says(&meshed(BOT), Some(&get("/api/x"))),
        format!("Allow: server/s {api} authorizationpolicy/on-route")
    );
    assert_eq!(
        world.says(&meshed(BOT), Some(&get("/shop"))),
        "Deny: server/s httproute.policy.linkerd.io/shop authorizationpolicy/on-server"
    );
}

#[test]
fn a_route_without_policy_is_closed_to_those_the_server_does_not_let_in() {
    let world = World::new().server("s", json!({})).route("api", prefix_rule("/"));
    let verdict = world.check(&meshed(WEB), Some(&get("/")));
    assert_eq!(
        verdict.reasons[1..],
        [
            Reason::Route {
                route: Origin::Object(PolicyId::new("httproute.policy.linkerd.io", "shop", "api"))
            },
            Reason::NoAuthorization
        ]
    );
}

#[test]
fn an_unusable_route_is_as_if_it_were_not_there() {
    let parent = json!({"group": "policy.linkerd.io", "kind": "Server", "name": "s", "port": 8080});
    let world = World::new()
        .server("s", json!({}))
        .object(Kind::LinkerdHTTPRoute, "r", 4, json!({"parentRefs": [parent], "rules": prefix_rule("/")}))
        .policy("p", on_route("r"), None);
    assert_eq!(world.says(&stranger(), Some(&get("/live"))), "Allow: server/s default/probe");
    assert_eq!(world.says(&stranger(), Some(&get("/"))), "Deny: server/s default/default");
}

#[test]
fn grpc_routes_count_on_grpc_servers_only_and_http_routes_elsewhere_only() {
    let grpc = json!({"parentRefs": [on_server("s")], "rules": [{"matches": [{"method": {"service": "a.B", "method": "C"}}]}]});
    let call = Request::grpc("a.B", "C");
    let world = |protocol: &str| {
        World::new()
            .server("s", json!({"proxyProtocol": protocol, "accessPolicy": "all-unauthenticated"}))
            .object(Kind::GRPCRoute, "g", 4, grpc.clone())
    };
    assert_eq!(
        world("gRPC").says(&stranger(), Some(&call)),
        "Allow: server/s grpcroute/g default/all-unauthenticated"
    );
    assert_eq!(
        world("gRPC").says(&stranger(), Some(&Request::grpc("a.B", "D"))),
        "UnmatchedRoute: server/s grpcroute/g"
    );
    assert_eq!(
        world("HTTP/2").says(&stranger(), Some(&call)),
        "Allow: server/s default/default default/all-unauthenticated"
    );
    // A GRPCRoute on a Server drives its HTTPRoutes away.
    let both = world("HTTP/2").route("r", prefix_rule("/none"));
    assert_eq!(both.check(&stranger(), Some(&call)).decision, Decision::Allow);
}

#[test]
fn a_grpc_match_on_headers_alone_closes_the_whole_port() {
    let rules = json!([{"matches": [{"headers": [{"name": "x", "value": "1"}]}]}]);
    let world = World::new()
        .server("s", json!({"proxyProtocol": "gRPC", "accessPolicy": "all-unauthenticated"}))
        .object(Kind::GRPCRoute, "g", 4, json!({"parentRefs": [on_server("s")], "rules": rules}));
    assert_eq!(world.says(&meshed(WEB), Some(&Request::grpc("a.B", "C"))), "Deny: server/s grpcroute/g");
}

// --- connections ---

#[test]
fn opaque_and_tls_ports_are_decided_per_connection_whatever_the_request() {
    for protocol in ["opaque", "TLS"] {
        let world = World::new()
            .server("s", json!({"proxyProtocol": protocol}))
            .route("r", prefix_rule("/"))
            .policy("on-route", on_route("r"), None)
            .policy("on-server", on_server("s"), Some("web"));
        assert_eq!(
            world.says(&meshed(WEB), Some(&get("/"))),
            "Allow: server/s authorizationpolicy/on-server"
        );
        assert_eq!(
            world.says(&stranger(), Some(&get("/live"))),
            "Deny: server/s authorizationpolicy/on-server"
        );
    }
}

#[test]
fn on_a_port_of_unknown_protocol_a_connection_that_is_not_http_is_decided_by_the_server() {
    let world = World::new()
        .server("s", json!({}))
        .route("r", prefix_rule("/"))
        .policy("on-route", on_route("r"), Some("bot"))
        .policy("on-server", on_server("s"), Some("web"));
    let web = world.check(&meshed(WEB), None);
    assert_eq!((web.decision, web.reasons.last()), (Decision::Allow, Some(&Reason::RouteNeeded)));
    // Denied as a connection, though requests on the route would pass: both are said.
    assert_eq!(
        world.says(&meshed(BOT), None),
        "Deny: server/s authorizationpolicy/on-server httproute.policy.linkerd.io/r authorizationpolicy/on-route"
    );
}

#[test]
fn a_rate_limit_is_named_where_the_call_is_let_in() {
    let limit = json!({"targetRef": on_server("s"), "total": {"requestsPerSecond": 5}});
    let world = World::new().server("s", json!({"accessPolicy": "all-authenticated"})).object(
        Kind::HTTPLocalRateLimitPolicy,
        "lim",
        5,
        limit,
    );
    let admitted = "Allow: server/s default/default default/all-authenticated httplocalratelimitpolicy/lim";
    assert_eq!(world.says(&meshed(WEB), Some(&get("/"))), admitted);
    assert!(!world.says(&stranger(), Some(&get("/"))).contains("lim"));
}

#[test]
fn every_reason_is_a_sentence_that_names_what_it_is_about() {
    let world = World::new().server("s", json!({})).policy("p", on_server("s"), Some("web"));
    let sentences: Vec<String> =
        world.check(&stranger(), Some(&get("/x"))).reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "server/shop/s selects the port (detect)",
            "no route is attached, so the default route takes the request",
            "authorizationpolicy/shop/p does not let the client in: the client does not speak mesh TLS",
        ]
    );
}
