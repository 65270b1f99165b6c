//! Each kind of change that flips a call: what is put or removed, and what is said of others.

use super::*;
use serde_json::json;
use world::{World, account, on};

mod properties;
mod world;

const WEB: &str = "shop/deployment/web";
const BOT: &str = "shop/deployment/bot";
const OLD: &str = "legacy/deployment/old";
const SPIFFE: &str = "spiffe://root.example/vm/agent";

fn identity(name: &str) -> String {
    format!("{name}.shop.serviceaccount.identity.linkerd.cluster.local")
}

/// `decision: put kind/name..., remove id...` of each flip.
fn lines(flips: &[Flip]) -> Vec<String> {
    let line = |flip: &Flip| {
        let put =
            flip.put.iter().map(|object| format!(" put {}/{}", object.kind.row().name, object.key.name));
        let removed = flip.removes.iter().map(|id| format!(" remove {id}"));
        format!("{:?}:{}", flip.becomes, put.chain(removed).collect::<String>())
    };
    flips.iter().map(line).collect()
}

fn get(path: &str) -> Request {
    Request::new("GET", path)
}

fn prefix(path: &str) -> Value {
    json!([{"matches": [{"path": {"type": "PathPrefix", "value": path}}]}])
}

fn spec_of(flip: &Flip, at: usize) -> Value {
    flip.manifests()[at]["spec"].clone()
}

// --- refused calls ---

#[test]
fn a_refused_service_account_is_let_in_by_a_policy_of_its_own_on_the_server() {
    let flips = World::new().server(json!({})).flips(WEB, None);
    assert_eq!(lines(&flips), ["Allow: put AuthorizationPolicy/s-web"]);
    assert_eq!(
        flips[0].text,
        "Let ServiceAccount shop/web in at server/shop/s with a new AuthorizationPolicy."
    );
    let manifest = json!({
        "apiVersion": "policy.linkerd.io/v1alpha1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "s-web", "namespace": "shop"},
        "spec": {
            "targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": "s"},
            "requiredAuthenticationRefs": [{"kind": "ServiceAccount", "name": "web"}],
        },
    });
    assert_eq!(flips[0].manifests(), [manifest]);
}

#[test]
fn an_account_of_another_namespace_is_referred_to_with_it_and_taken_names_are_left_alone() {
    let world = World::new().server(json!({})).policy("s-web", on("Server", "s"), &[account("bot")]);
    let flips = world.flips("other/deployment/web", None);
    assert_eq!(lines(&flips), ["Allow: put AuthorizationPolicy/s-web-2"]);
    let required = &spec_of(&flips[0], 0)["requiredAuthenticationRefs"];
    assert_eq!(*required, json!([{"kind": "ServiceAccount", "name": "web", "namespace": "other"}]));
}

#[test]
fn one_line_in_the_authentication_that_the_servers_policy_asks_for_is_the_smallest_change() {
    let world = World::new()
        .server(json!({}))
        .object(Kind::MeshTLSAuthentication, "clients", json!({"identities": [identity("bot")]}))
        .policy("p", on("Server", "s"), &[on("MeshTLSAuthentication", "clients")]);
    let flips = world.flips(WEB, None);
    assert_eq!(
        lines(&flips),
        ["Allow: put MeshTLSAuthentication/clients", "Allow: put AuthorizationPolicy/s-web"]
    );
    assert_eq!(spec_of(&flips[0], 0), json!({"identities": [identity("bot"), identity("web")]}));
    assert_eq!(
        flips[0].text,
        "Add ServiceAccount shop/web to meshtlsauthentication/shop/clients, which authorizationpolicy/shop/p asks for."
    );
}

#[test]
fn an_authentication_that_others_ask_for_too_comes_last_and_says_where_else_it_opens() {
    let world = World::new()
        .server(json!({}))
        .object(Kind::Server, "t", json!({"podSelector": {"matchLabels": {"app": "bot"}}, "port": 8080}))
        .object(
            Kind::MeshTLSAuthentication,
            "clients",
            json!({"identityRefs": [{"kind": "ServiceAccount", "name": "bot"}]}),
        )
        .policy("p", on("Server", "s"), &[on("MeshTLSAuthentication", "clients")])
        .policy("q", on("Server", "t"), &[on("MeshTLSAuthentication", "clients")]);
    let flips = world.flips(WEB, None);
    assert_eq!(
        lines(&flips),
        ["Allow: put AuthorizationPolicy/s-web", "Allow: put MeshTLSAuthentication/clients"]
    );
    let text = "Add ServiceAccount shop/web to meshtlsauthentication/shop/clients, which authorizationpolicy/shop/p \
                asks for. authorizationpolicy/shop/q asks for it too. The client is then let in at \
                shop/deployment/bot:8080 too.";
    assert_eq!(flips[1].text, text);
    let refs = json!([
        {"kind": "ServiceAccount", "name": "bot"},
        {"kind": "ServiceAccount", "name": "web", "namespace": "shop"}
    ]);
    assert_eq!(spec_of(&flips[1], 0), json!({"identityRefs": refs}));
}

#[test]
fn a_spiffe_identity_is_written_out_exactly() {
    let world = World::new()
        .server(json!({}))
        .object(Kind::MeshTLSAuthentication, "all", json!({"identities": ["*"]}))
        .policy("p", on("Server", "s"), &[on("MeshTLSAuthentication", "all")]);
    let flips = world.flips(SPIFFE, None);
    assert_eq!(
        lines(&flips),
        [
            "Allow: put MeshTLSAuthentication/all",
            "Allow: put MeshTLSAuthentication/s-agent put AuthorizationPolicy/s-agent"
        ]
    );
    assert_eq!(spec_of(&flips[1], 0), json!({"identities": [SPIFFE]}));
}

#[test]
fn an_unmeshed_client_is_let_in_by_its_address_with_a_word_about_meshing_it() {
    let flips = World::new().server(json!({})).flips(OLD, None);
    assert_eq!(
        lines(&flips),
        ["Allow: put NetworkAuthentication/s-10-2-0-9 put AuthorizationPolicy/s-10-2-0-9"]
    );
    assert_eq!(spec_of(&flips[0], 0), json!({"networks": [{"cidr": "10.2.0.9/32"}]}));
    assert!(flips[0].text.contains("meshing the client"), "{}", flips[0].text);
}

#[test]
fn all_pods_of_an_unmeshed_client_are_let_in_by_their_addresses() {
    let world = World::new().server(json!({})).pod("legacy", "old", 1, "10.2.0.10");
    let flips = world.flips(OLD, None);
    assert_eq!(
        spec_of(&flips[0], 0),
        json!({"networks": [{"cidr": "10.2.0.9/32"}, {"cidr": "10.2.0.10/32"}]})
    );
    let after = world.after(&flips[0]).made();
    let checked = after.check(OLD, None);
    assert_eq!((checked.decision(), checked.accesses[0].addresses.len()), (Decision::Allow, 2));
}

#[test]
fn a_client_that_would_be_let_in_with_an_identity_should_get_one() {
    let flips = World::new().server(json!({"accessPolicy": "all-authenticated"})).flips(OLD, None);
    assert_eq!(lines(&flips)[0], "Allow:", "{flips:?}");
    assert!(flips[0].text.starts_with("Put legacy/deployment/old in the mesh"), "{}", flips[0].text);
}

#[test]
fn a_network_gets_one_address_more() {
    let world = World::new()
        .server(json!({}))
        .object(Kind::NetworkAuthentication, "n", json!({"networks": [{"cidr": "10.9.0.0/16"}]}))
        .policy("p", on("Server", "s"), &[on("NetworkAuthentication", "n")]);
    let flips = world.flips(OLD, None);
    assert_eq!(lines(&flips)[0], "Allow: put NetworkAuthentication/n");
    assert_eq!(
        spec_of(&flips[0], 0),
        json!({"networks": [{"cidr": "10.9.0.0/16"}, {"cidr": "10.2.0.9/32"}]})
    );
}

#[test]
fn the_route_that_takes_the_request_is_a_smaller_target_than_its_server() {
    let world = World::new().server(json!({})).route("api", prefix("/api"));
    let flips = world.flips(WEB, Some(&get("/api/x")));
    assert_eq!(
        lines(&flips),
        ["Allow: put AuthorizationPolicy/api-web", "Allow: put AuthorizationPolicy/s-web"]
    );
    assert_eq!(spec_of(&flips[0], 0)["targetRef"], on("HTTPRoute", "api"));
}

#[test]
fn in_place_of_a_default_policy_a_server_keeps_what_the_default_let_in() {
    let world = World::with_annotations(&[("default-inbound-policy", "all-authenticated")]);
    let flips = world.flips(OLD, None);
    assert_eq!(
        lines(&flips),
        [
            "Allow:",
            "Allow: put Server/db-8080 put NetworkAuthentication/db-8080-10-2-0-9 put \
             AuthorizationPolicy/db-8080-10-2-0-9"
        ]
    );
    let server = json!({
        "podSelector": {"matchLabels": {"app": "db"}},
        "port": 8080,
        "proxyProtocol": "unknown",
        "accessPolicy": "all-authenticated",
    });
    assert_eq!(spec_of(&flips[1], 0), server);
    assert!(!flips[1].text.contains("shuts out"), "{}", flips[1].text);
    let denying = World::with_annotations(&[("default-inbound-policy", "deny"), ("opaque-ports", "8080")]);
    let flips = denying.flips(WEB, None);
    assert_eq!(lines(&flips), ["Allow: put Server/db-8080 put AuthorizationPolicy/db-8080-web"]);
    assert_eq!(spec_of(&flips[0], 0)["proxyProtocol"], "opaque");
}

#[test]
fn a_missing_referent_is_named_and_put() {
    let world =
        World::new().server(json!({})).policy("p", on("Server", "s"), &[on("MeshTLSAuthentication", "gone")]);
    let flips = world.flips(WEB, None);
    assert_eq!(lines(&flips)[0], "Allow: put MeshTLSAuthentication/gone");
    assert_eq!(spec_of(&flips[0], 0), json!({"identities": [identity("web")]}));
    let begins = "authorizationpolicy/shop/p is ignored, because it asks for meshtlsauthentication/shop/gone, which \
                  does not exist";
    assert!(flips[0].text.starts_with(begins), "{}", flips[0].text);
}

#[test]
fn a_server_authorization_gets_one_account_more_be_it_in_force_or_ignored() {
    for client in [json!({"meshTLS": {"serviceAccounts": [{"name": "bot"}]}}), json!({})] {
        let spec = json!({"server": {"name": "s"}, "client": client});
        let flips =
            World::new().server(json!({})).object(Kind::ServerAuthorization, "old", spec).flips(WEB, None);
        assert_eq!(lines(&flips)[0], "Allow: put ServerAuthorization/old", "{client}");
        let accounts = spec_of(&flips[0], 0)["client"]["meshTLS"]["serviceAccounts"].clone();
        assert_eq!(accounts.as_array().unwrap().last(), Some(&json!({"name": "web", "namespace": "shop"})));
    }
}

#[test]
fn a_match_on_headers_alone_gets_its_service_and_an_authorization_if_that_is_lacking_too() {
    let grpc = json!({"parentRefs": [on("Server", "s")],
        "rules": [{"matches": [{"headers": [{"name": "x", "value": "y"}]}, {"method": {"service": "pkg.Db"}}]}]});
    let base = World::new().server(json!({"proxyProtocol": "gRPC"})).object(Kind::GRPCRoute, "r", grpc);
    let call = Request::grpc("pkg.Db", "Get");
    let flips = base.flips(WEB, Some(&call));
    assert_eq!(
        lines(&flips),
        [
            "Allow: put GRPCRoute/r put AuthorizationPolicy/r-web",
            "Allow: put GRPCRoute/r put AuthorizationPolicy/s-web"
        ]
    );
    let fixed = &spec_of(&flips[0], 0)["rules"][0]["matches"][0];
    assert_eq!(*fixed, json!({"headers": [{"name": "x", "value": "y"}], "method": {"service": "pkg.Db"}}));
    let authorized = base.policy("p", on("Server", "s"), &[account("web")]);
    assert_eq!(lines(&authorized.flips(WEB, Some(&call))), ["Allow: put GRPCRoute/r"]);
    assert_eq!(lines(&authorized.flips(WEB, None)), ["Allow: put GRPCRoute/r"]);
}

#[test]
fn a_request_that_no_route_takes_gets_a_rule_in_a_route_or_a_route() {
    let world = World::new().server(json!({})).route("api", prefix("/api")).policy(
        "p",
        on("Server", "s"),
        &[account("web")],
    );
    let flips = world.flips(WEB, Some(&get("/new?x=1")));
    assert_eq!(lines(&flips), ["Allow: put HTTPRoute/api", "Allow: put HTTPRoute/s-more"]);
    let rule = json!({"matches": [{"path": {"type": "Exact", "value": "/new"}, "method": "GET"}]});
    assert_eq!(spec_of(&flips[0], 0)["rules"][1], rule);
    assert_eq!(spec_of(&flips[1], 0), json!({"parentRefs": [on("Server", "s")], "rules": [rule]}));
    // The bot is let in nowhere, so the rule alone would turn its 404 into a 403.
    let flips = world.flips(BOT, Some(&get("/new")));
    assert!(flips.iter().all(|flip| flip.becomes == Decision::Allow && flip.put.len() == 2), "{flips:?}");
    assert_eq!(lines(&flips)[0], "Allow: put HTTPRoute/api put AuthorizationPolicy/api-bot");
}

#[test]
fn a_route_that_names_a_port_of_the_server_is_attached_by_leaving_the_port_out() {
    let mut parent = on("Server", "s");
    parent["port"] = json!(8080);
    let spec = json!({"parentRefs": [parent], "rules": prefix("/new")});
    let world = World::new()
        .server(json!({}))
        .route("api", prefix("/api"))
        .object(Kind::LinkerdHTTPRoute, "lost", spec)
        .policy("p", on("Server", "s"), &[account("web")]);
    let flips = world.flips(WEB, Some(&get("/new")));
    assert_eq!(lines(&flips)[0], "Allow: put HTTPRoute/lost");
    assert_eq!(spec_of(&flips[0], 0)["parentRefs"], json!([on("Server", "s")]));
}

#[test]
fn a_lost_route_whose_policy_would_let_the_client_in_is_attached_with_a_word_about_the_default_routes() {
    let spec = json!({
        "parentRefs": [{"group": "policy.linkerd.io", "kind": "Server", "name": "s", "sectionName": "http"}],
        "rules": prefix("/new"),
    });
    let world = World::new().server(json!({})).object(Kind::LinkerdHTTPRoute, "lost", spec).policy(
        "p",
        on("HTTPRoute", "lost"),
        &[account("web")],
    );
    let flips = world.flips(WEB, Some(&get("/new")));
    assert_eq!(lines(&flips)[0], "Allow: put HTTPRoute/lost");
    assert!(flips[0].text.contains("is answered with 404, probes included"), "{}", flips[0].text);
}

#[test]
fn nothing_is_offered_for_a_client_of_which_nothing_is_known() {
    let made = World::new().server(json!({})).made();
    let mut access = made.check(OLD, None).accesses.remove(0);
    access.client = Client::unmeshed(None);
    access.addresses.clear();
    let flips = flips(&made.mesh(), &access, None);
    assert_eq!(lines(&flips), ["Allow:"], "only to put it in the mesh");
    assert!(flips[0].text.contains("the log of the proxy of shop/deployment/db"), "{}", flips[0].text);
}

// --- calls that are let in ---

#[test]
fn everything_that_lets_a_client_in_must_go_and_an_identity_goes_alone_where_it_is_listed() {
    let world = World::new()
        .server(json!({}))
        .object(Kind::MeshTLSAuthentication, "m", json!({"identities": [identity("web"), identity("bot")]}))
        .policy("p", on("Server", "s"), &[on("MeshTLSAuthentication", "m")])
        .policy("q", on("Server", "s"), &[account("web")]);
    let flips = world.flips(WEB, None);
    let both = "Deny: put MeshTLSAuthentication/m remove authorizationpolicy/shop/q";
    assert_eq!(lines(&flips)[0], both);
    assert_eq!(spec_of(&flips[0], 0), json!({"identities": [identity("bot")]}));
    let crude = flips.iter().find(|flip| flip.put.is_empty()).unwrap();
    assert_eq!(crude.removes.len(), 2);
    assert_eq!(
        crude.text,
        "Remove authorizationpolicy/shop/p, and remove authorizationpolicy/shop/q. It also shuts out \
         shop/deployment/bot."
    );
}

#[test]
fn an_access_policy_that_lets_in_becomes_deny_and_says_whom_that_shuts_out() {
    let flips = World::new().server(json!({"accessPolicy": "all-authenticated"})).flips(WEB, None);
    assert_eq!(lines(&flips), ["Deny: put Server/s"]);
    assert_eq!(spec_of(&flips[0], 0)["accessPolicy"], "deny");
    let text = "Set accessPolicy of server/shop/s to deny. It also shuts out mesh clients of any DNS identity, \
                other/deployment/web, shop/deployment/bot and shop/deployment/db.";
    assert_eq!(flips[0].text, text);
}

#[test]
fn where_a_default_lets_in_a_server_that_denies_takes_the_port_over() {
    let flips = World::new().flips(WEB, None);
    assert_eq!(lines(&flips), ["Deny:", "Deny: put Server/db-8080"]);
    assert!(flips[0].text.contains("default-inbound-policy: deny on the pods of shop/deployment/db"));
    assert!(flips[1].text.contains("for everybody. It also shuts out"), "{}", flips[1].text);
}

#[test]
fn an_address_is_taken_out_of_its_network_as_an_exception() {
    let world = World::new()
        .server(json!({}))
        .object(Kind::NetworkAuthentication, "n", json!({"networks": [{"cidr": "10.2.0.0/16"}]}))
        .policy("p", on("Server", "s"), &[on("NetworkAuthentication", "n")]);
    let flips = world.flips(OLD, None);
    let networks = json!({"networks": [{"cidr": "10.2.0.0/16", "except": ["10.2.0.9/32"]}]});
    assert_eq!(
        (lines(&flips)[0].as_str(), spec_of(&flips[0], 0)),
        ("Deny: put NetworkAuthentication/n", networks)
    );
}

#[test]
fn where_no_policy_is_enforced_the_change_is_one_of_the_workload() {
    let bare = World::new().without_proxy().flips(WEB, None);
    assert_eq!(lines(&bare), ["Deny:"]);
    assert!(bare[0].text.starts_with("Put shop/deployment/db in the mesh"), "{}", bare[0].text);
    let skipped = World::with_annotations(&[("skip-inbound-ports", "8000-9000")]).flips(WEB, None);
    assert_eq!(lines(&skipped), ["Deny:"]);
    assert!(skipped[0].text.starts_with("Take port 8080 out of"), "{}", skipped[0].text);
}

#[test]
fn what_only_an_audit_policy_lets_in_can_be_authorized_or_refused() {
    let flips = World::new().server(json!({"accessPolicy": "audit"})).flips(WEB, None);
    assert_eq!(lines(&flips), ["Allow: put AuthorizationPolicy/s-web", "Deny: put Server/s"]);
}

#[test]
fn an_egress_network_lets_out_or_keeps_in_by_its_traffic_policy() {
    let network = |policy| json!({"trafficPolicy": policy, "networks": [{"cidr": "203.0.113.0/24"}]});
    for (policy, becomes, next) in [("Deny", Decision::Allow, "Allow"), ("Allow", Decision::Deny, "Deny")] {
        let made = World::new().object(Kind::EgressNetwork, "out", network(policy)).made();
        let checked = made.check_to(WEB, "external:203.0.113.9:443", None);
        let flips = flips(&made.mesh(), &checked.accesses[0], None);
        assert_eq!((flips.len(), flips[0].becomes), (1, becomes));
        assert_eq!(spec_of(&flips[0], 0), network(next));
    }
}
