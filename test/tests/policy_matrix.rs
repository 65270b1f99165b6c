//! Who may call whom, sentence by sentence: for each rule of Linkerd's inbound policy the same callers against the
//! same target, with every reason. The tests are named for what they show; their tables are in `golden/policy/`.
//!
//! The target is `shop/pod/cart`: port 8080 named `http`, probed at `/ready`; 9990 named `admin`; 5432 named `pg`.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::Change,
    facts::{Facts, Touched},
    index::assemble_all,
    kind::{KINDS, Kind},
    metrics::Metrics,
    policy::{
        DefaultPolicy, Objects, Policies, PolicyCluster, Request,
        ask::{self, Callee, Caller, Mesh},
    },
    query,
};
use linkerd_mcp_test::golden;
use serde_json::{Value, json};
use std::{fmt::Write, sync::Arc};

/// A meshed neighbour, a meshed stranger, an unmeshed pod, an address outside, an identity that is no DNS name.
const CALLERS: [&str; 5] =
    ["shop/pod/web", "other/pod/caller", "legacy/pod/old", "203.0.113.9", "spiffe://mesh.example/vm"];

const POLICY: &str = "policy.linkerd.io";
const GATEWAY: &str = "gateway.networking.k8s.io";

fn pod(namespace: &str, name: &str, ip: &str, meshed: bool) -> Value {
    let mut labels = json!({"app": name});
    let mut init = json!([]);
    if meshed {
        labels["linkerd.io/control-plane-ns"] = "linkerd".into();
        init = json!([{"name": "linkerd-proxy", "restartPolicy": "Always",
                       "ports": [{"containerPort": 4191, "name": "linkerd-admin"}]}]);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels, "annotations": {}},
        "spec": {
            "serviceAccountName": name,
            "initContainers": init,
            "containers": [{
                "name": "app",
                "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9990, "name": "admin"},
                          {"containerPort": 5432, "name": "pg"}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            }],
        },
        "status": {"podIP": ip, "phase": "Running"},
    })
}

fn object(group: &str, version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "spec": spec,
           "metadata": {"namespace": "shop", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}})
}

fn server(name: &str, rest: Value) -> Value {
    let mut spec = json!({"podSelector": {"matchLabels": {"app": "cart"}}, "port": "http"});
    merge(&mut spec, rest);
    object(POLICY, "v1beta3", "Server", name, spec)
}

fn merge(into: &mut Value, from: Value) {
    for (name, value) in from.as_object().unwrap() {
        into[name] = value.clone();
    }
}

fn reference(kind: &str, name: &str) -> Value {
    let group = match kind {
        "ServiceAccount" | "Namespace" => "",
        "GRPCRoute" => GATEWAY,
        _ => POLICY,
    };
    json!({"group": group, "kind": kind, "name": name})
}

fn allow(name: &str, target: Value, required: &[Value]) -> Value {
    let spec = json!({"targetRef": target, "requiredAuthenticationRefs": required});
    object(POLICY, "v1alpha1", "AuthorizationPolicy", name, spec)
}

fn identities(name: &str, spec: Value) -> Value {
    object(POLICY, "v1alpha1", "MeshTLSAuthentication", name, spec)
}

fn networks(name: &str, networks: Value) -> Value {
    object(POLICY, "v1alpha1", "NetworkAuthentication", name, json!({"networks": networks}))
}

fn route(name: &str, matches: Value) -> Value {
    let spec = json!({"parentRefs": [reference("Server", "cart")], "rules": [{"matches": matches}]});
    object(POLICY, "v1beta3", "HTTPRoute", name, spec)
}

fn web() -> Value {
    reference("ServiceAccount", "web")
}

fn cart() -> Value {
    reference("Server", "cart")
}

fn kind(object: &Value) -> Kind {
    let api_version = object["apiVersion"].as_str().unwrap();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    KINDS.iter().find(|row| row.group == group && object["kind"] == row.name).unwrap().kind
}

/// A mesh, and what is asked of it.
struct Case {
    objects: Vec<Value>,
    cluster: PolicyCluster,
    port: u16,
    requests: Vec<Option<Request>>,
}

fn case(objects: Vec<Value>) -> Case {
    let pods = [
        pod("shop", "cart", "10.1.0.1", true),
        pod("shop", "web", "10.1.0.2", true),
        pod("other", "caller", "10.2.0.1", true),
        pod("legacy", "old", "10.9.0.9", false),
    ];
    Case {
        objects: pods.into_iter().chain(objects).collect(),
        cluster: PolicyCluster::default(),
        port: 8080,
        requests: vec![None],
    }
}

impl Case {
    fn default_policy(mut self, policy: DefaultPolicy) -> Self {
        self.cluster.default_policy = policy;
        self
    }

    fn annotated(mut self, name: &str, value: &str) -> Self {
        self.objects[0]["metadata"]["annotations"][format!("config.linkerd.io/{name}")] = value.into();
        self
    }

    fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    fn get(mut self, paths: &[&str]) -> Self {
        self.requests = paths.iter().map(|path| Some(Request::new("GET", *path))).collect();
        self
    }

    fn grpc(mut self, methods: &[&str]) -> Self {
        self.requests = methods.iter().map(|method| Some(Request::grpc("shop.Cart", method))).collect();
        self
    }

    /// Every caller and request, the decision, and why.
    fn table(&self) -> String {
        let (mut facts, mut touched) = (Facts::default(), Touched::default());
        for object in &self.objects {
            facts.change(Change::Apply(fact_from_value(kind(object), object).unwrap()), &mut touched);
        }
        let settings = Cluster { policy: Some(Arc::new(self.cluster.clone())), ..Cluster::default() };
        let graph = assemble_all(facts, &settings);
        let policies = Policies::of(Objects::of_graph(&graph), &self.cluster);
        let (index, metrics) = (query::Index::of(&graph), Metrics::default());
        let mesh = Mesh { graph: &graph, index: &index, metrics: &metrics, policies: &policies };
        let callee = Callee::resolve(&graph, "shop/pod/cart", Some(self.port), None).unwrap();
        let mut table = String::new();
        for request in &self.requests {
            let what = request.as_ref().map_or_else(String::new, |it| format!(" {} {}", it.method, it.path));
            for typed in CALLERS {
                let caller = Caller::resolve(&graph, typed, None).unwrap();
                let checked = ask::check(&mesh, &caller, &callee, request.as_ref(), None).unwrap();
                for access in &checked.accesses {
                    let decision = json!(access.verdict.decision);
                    writeln!(table, "{typed}{what}: {}", decision.as_str().unwrap()).unwrap();
                    for reason in &access.verdict.reasons {
                        writeln!(table, "    {reason}").unwrap();
                    }
                }
            }
        }
        for ignored in policies.ignored() {
            writeln!(table, "ignored {}: {}", ignored.id, ignored.fault).unwrap();
        }
        table
    }
}

macro_rules! matrix {
    ($($name:ident => $case:expr;)*) => {
        $(#[test]
        fn $name() {
            golden::check(concat!("policy/", stringify!($name), ".txt"), &$case.table());
        })*

        #[test]
        fn every_golden_table_belongs_to_a_test() {
            let names = [$(concat!(stringify!($name), ".txt")),*];
            let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/policy")).unwrap();
            for file in files {
                let file = file.unwrap().file_name().into_string().unwrap();
                assert!(names.contains(&file.as_str()), "{file} is of no test any more: delete it");
            }
        }
    };
}

matrix! {
    without_a_server_the_default_policy_lets_everybody_in => case(vec![]);
    a_skipped_port_is_under_no_policy =>
        case(vec![server("cart", json!({}))]).annotated("skip-inbound-ports", "8080");
    the_default_all_authenticated_wants_a_dns_identity =>
        case(vec![]).default_policy(DefaultPolicy::AllAuthenticated);
    the_default_cluster_unauthenticated_goes_by_address =>
        case(vec![]).default_policy(DefaultPolicy::ClusterUnauthenticated);
    the_default_cluster_authenticated_wants_both =>
        case(vec![]).default_policy(DefaultPolicy::ClusterAuthenticated);
    the_default_deny_leaves_only_probes =>
        case(vec![]).default_policy(DefaultPolicy::Deny).get(&["/", "/ready"]);
    the_default_audit_lets_in_and_counts => case(vec![]).default_policy(DefaultPolicy::Audit);
    the_pods_annotation_goes_before_the_clusters_default =>
        case(vec![]).default_policy(DefaultPolicy::Deny).annotated("default-inbound-policy", "all-authenticated");
    an_annotation_that_names_no_policy_falls_back_to_the_clusters =>
        case(vec![]).default_policy(DefaultPolicy::Deny).annotated("default-inbound-policy", "nobody");
    a_port_that_requires_identity_turns_the_default_into_its_authenticated_form =>
        case(vec![]).annotated("proxy-require-identity-inbound-ports", "8080");
    one_bad_entry_spoils_a_list_of_ports =>
        case(vec![]).annotated("proxy-require-identity-inbound-ports", "8080,http");
    a_server_denies_what_nothing_authorizes => case(vec![server("cart", json!({}))]);
    a_servers_access_policy_takes_the_place_of_deny =>
        case(vec![server("cart", json!({"accessPolicy": "all-authenticated"}))]);
    an_access_policy_audit_lets_in_and_counts => case(vec![server("cart", json!({"accessPolicy": "audit"}))]);
    an_authorization_beside_audit_allows_its_clients_plainly => case(vec![
        server("cart", json!({"accessPolicy": "audit"})),
        allow("web", cart(), &[web()]),
    ]);
    of_two_servers_on_a_port_the_older_holds_and_then_the_name => {
        let mut older = server("zz-older", json!({"port": 8080}));
        older["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z".into();
        case(vec![server("cart", json!({})), older, allow("web", cart(), &[web()])])
    };
    a_server_with_a_named_port_selects_what_containers_declare =>
        case(vec![server("cart", json!({"port": "admin"}))]).port(9990);
    a_port_number_in_quotes_is_a_name => case(vec![server("cart", json!({"port": "8080"}))]);
    match_expressions_select_pods => case(vec![server("cart", json!({"podSelector": {"matchExpressions": [
        {"key": "app", "operator": "In", "values": ["cart", "db"]}]}}))]);
    exists_with_values_selects_nothing => case(vec![server("cart", json!({"podSelector": {"matchExpressions": [
        {"key": "app", "operator": "Exists", "values": []}]}}))]);
    an_unreadable_server_leaves_the_port_to_the_default =>
        case(vec![server("cart", json!({"podSelector": {"matchExpressions": [
            {"key": "app", "operator": "Sometimes"}]}}))]);
    a_policy_on_the_server_lets_in_its_service_account =>
        case(vec![server("cart", json!({})), allow("web", cart(), &[web()])]);
    the_kind_of_a_target_is_looked_at_and_not_its_name_alone =>
        case(vec![server("cart", json!({})), allow("web", reference("HTTPRoute", "cart"), &[web()])]);
    all_references_must_hold_together => case(vec![
        server("cart", json!({})),
        networks("far", json!([{"cidr": "10.2.0.0/16"}])),
        allow("web", cart(), &[web(), reference("NetworkAuthentication", "far")]),
    ]);
    a_reference_may_lead_to_another_namespace => {
        let mut far = identities("callers", json!({"identities": [
            "caller.other.serviceaccount.identity.linkerd.cluster.local"]}));
        far["metadata"]["namespace"] = "other".into();
        let mut reference = reference("MeshTLSAuthentication", "callers");
        reference["namespace"] = "other".into();
        case(vec![server("cart", json!({})), far, allow("callers", cart(), &[reference])])
    };
    without_its_namespace_a_reference_stays_at_home => {
        let mut far = identities("callers", json!({"identities": ["*"]}));
        far["metadata"]["namespace"] = "other".into();
        case(vec![server("cart", json!({})), far,
                  allow("callers", cart(), &[reference("MeshTLSAuthentication", "callers")])])
    };
    an_empty_list_of_references_lets_everybody_in =>
        case(vec![server("cart", json!({})), allow("anybody", cart(), &[])]);
    a_missing_referent_disables_the_whole_policy =>
        case(vec![server("cart", json!({})), allow("web", cart(), &[web(), reference("NetworkAuthentication", "gone")])]);
    identity_refs_name_service_accounts_and_namespaces => case(vec![
        server("cart", json!({})),
        identities("some", json!({"identityRefs": [{"kind": "Namespace", "name": "other"}]})),
        allow("some", cart(), &[reference("MeshTLSAuthentication", "some")]),
    ]);
    a_star_matches_every_dns_identity_and_no_spiffe => case(vec![
        server("cart", json!({})),
        identities("any", json!({"identities": ["*"]})),
        allow("any", cart(), &[reference("MeshTLSAuthentication", "any")]),
    ]);
    a_suffix_matches_what_is_below_it => case(vec![
        server("cart", json!({})),
        identities("shop", json!({"identities": ["*.shop.serviceaccount.identity.linkerd.cluster.local"]})),
        allow("shop", cart(), &[reference("MeshTLSAuthentication", "shop")]),
    ]);
    a_spiffe_identity_is_matched_exactly => case(vec![
        server("cart", json!({})),
        identities("vm", json!({"identities": ["spiffe://mesh.example/vm"]})),
        allow("vm", cart(), &[reference("MeshTLSAuthentication", "vm")]),
    ]);
    networks_are_matched_without_their_exceptions => case(vec![
        server("cart", json!({})),
        networks("pods", json!([{"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"]}, {"cidr": "203.0.113.0/24"}])),
        allow("pods", cart(), &[reference("NetworkAuthentication", "pods")]),
    ]);
    a_policy_on_the_namespace_reaches_its_servers => case(vec![
        server("cart", json!({})),
        allow("all", reference("Namespace", "shop"), &[web()]),
    ]);
    a_policy_on_the_namespace_never_reaches_a_port_without_a_server => case(vec![
        server("cart", json!({"port": "admin"})),
        allow("all", reference("Namespace", "shop"), &[web()]),
    ]).default_policy(DefaultPolicy::Deny);
    a_server_authorization_is_still_enforced => case(vec![
        server("cart", json!({})),
        object(POLICY, "v1beta1", "ServerAuthorization", "web", json!({
            "server": {"name": "cart"}, "client": {"meshTLS": {"serviceAccounts": [{"name": "web"}]}}})),
    ]);
    a_server_authorization_without_networks_means_the_clusters => case(vec![
        server("cart", json!({})),
        object(POLICY, "v1beta1", "ServerAuthorization", "open", json!({
            "server": {"name": "cart"}, "client": {"unauthenticated": true}})),
    ]);
    a_server_authorization_selects_servers_by_label => {
        let mut labelled = server("cart", json!({}));
        labelled["metadata"]["labels"] = json!({"tier": "front"});
        case(vec![labelled, object(POLICY, "v1beta1", "ServerAuthorization", "web", json!({
            "server": {"selector": {"matchLabels": {"tier": "front"}}},
            "client": {"meshTLS": {"unauthenticatedTLS": true}}}))])
    };
    a_server_takes_the_probes_exemption_along => case(vec![server("cart", json!({}))]).get(&["/ready", "/ready?x=1"]);
    an_attached_route_removes_the_exemption_of_probes => case(vec![
        server("cart", json!({})),
        route("api", json!([{"path": {"type": "PathPrefix", "value": "/api"}}])),
        allow("web", reference("HTTPRoute", "api"), &[web()]),
    ]).get(&["/ready", "/api/items"]);
    what_no_route_takes_is_not_found_whoever_asks => case(vec![
        server("cart", json!({})),
        route("api", json!([{"path": {"type": "Exact", "value": "/api"}, "method": "POST"}])),
        allow("web", cart(), &[web()]),
    ]).get(&["/api", "/other"]);
    an_authorization_of_the_server_opens_all_its_routes => case(vec![
        server("cart", json!({})),
        route("api", json!([{"path": {"type": "PathPrefix", "value": "/"}}])),
        allow("caller", reference("HTTPRoute", "api"), &[{
            let mut it = reference("ServiceAccount", "caller");
            it["namespace"] = "other".into();
            it
        }]),
        allow("web", cart(), &[web()]),
    ]).get(&["/"]);
    an_http_route_does_nothing_on_a_grpc_server => case(vec![
        server("cart", json!({"proxyProtocol": "gRPC"})),
        route("api", json!([{"path": {"type": "PathPrefix", "value": "/nothing"}}])),
        allow("web", cart(), &[web()]),
    ]).grpc(&["Add"]);
    a_grpc_route_matches_service_and_method => case(vec![
        server("cart", json!({"proxyProtocol": "gRPC"})),
        object(GATEWAY, "v1", "GRPCRoute", "add", json!({
            "parentRefs": [reference("Server", "cart")],
            "rules": [{"matches": [{"method": {"service": "shop.Cart", "method": "Add"}}]}]})),
        allow("web", reference("GRPCRoute", "add"), &[web()]),
    ]).grpc(&["Add", "Clear"]);
    a_grpc_match_on_headers_alone_closes_the_port => case(vec![
        server("cart", json!({"proxyProtocol": "gRPC"})),
        object(GATEWAY, "v1", "GRPCRoute", "add", json!({
            "parentRefs": [reference("Server", "cart")],
            "rules": [{"matches": [{"headers": [{"name": "x-user", "value": "a"}]}]}]})),
        allow("web", cart(), &[web()]),
    ]).grpc(&["Add"]);
    an_opaque_server_is_judged_by_connection => case(vec![
        server("cart", json!({"proxyProtocol": "opaque", "port": "pg"})),
        allow("web", cart(), &[web()]),
    ]).port(5432);
    on_a_port_of_unknown_protocol_a_connection_is_judged_by_the_server => case(vec![
        server("cart", json!({})),
        route("api", json!([{"path": {"type": "PathPrefix", "value": "/"}}])),
        allow("web", reference("HTTPRoute", "api"), &[web()]),
    ]);
    a_rate_limit_is_named_where_it_bears => case(vec![
        server("cart", json!({})),
        allow("web", cart(), &[web()]),
        object(POLICY, "v1alpha1", "HTTPLocalRateLimitPolicy", "slow", json!({
            "targetRef": cart(), "total": {"requestsPerSecond": 10}})),
    ]).get(&["/"]);
    kinds_in_target_refs_match_without_letter_case_and_names_of_servers_exactly => case(vec![
        server("cart", json!({})),
        allow("web", json!({"group": POLICY, "kind": "server", "name": "cart"}), &[web()]),
        allow("caller", reference("Server", "CART"), &[]),
    ]);
}
