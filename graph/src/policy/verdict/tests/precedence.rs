//! Which route wins: Linkerd's proxy has an order of its own.

use super::*;

/// The route that takes the request, of routes in this order of age; the other fields of their specs are given.
fn winner(routes: &[(&str, Value)], request: &Request) -> Option<String> {
    let mut world = World::new().server("s", json!({"accessPolicy": "all-unauthenticated"}));
    for (minute, (name, fields)) in routes.iter().enumerate() {
        let mut spec = json!({"parentRefs": [on_server("s")]});
        merge(&mut spec, fields.clone());
        world = world.object(Kind::GatewayHTTPRoute, name, i64::try_from(minute).unwrap(), spec);
    }
    world.check(&stranger(), Some(request)).reasons.iter().find_map(|reason| match reason {
        Reason::Route { route: Origin::Object(id) } => Some(id.name().to_owned()),
        _ => None,
    })
}

fn path(kind: &str, value: &str) -> Value {
    json!({"path": {"type": kind, "value": value}})
}

fn one(matching: Value) -> Value {
    json!({"rules": [{"matches": [matching]}]})
}

fn with(mut matching: Value, fields: Value) -> Value {
    merge(&mut matching, fields);
    matching
}

fn header(name: &str) -> Value {
    json!({"name": name, "value": "1"})
}

#[test]
fn an_exact_host_beats_a_longer_suffix_beats_a_shorter_one_beats_none() {
    let rules = json!([{}]);
    let hosts = |name: &str| json!({"hostnames": [name], "rules": rules});
    let routes = [
        ("none", json!({"rules": [{"matches": [path("Exact", "/a/long/path")]}]})),
        ("short", hosts("*.example")),
        ("long", hosts("*.shop.example")),
        ("exact", hosts("web.shop.example")),
    ];
    for (host, name) in [
        ("web.shop.example", "exact"),
        ("WEB.shop.example.", "exact"),
        ("x.shop.example", "long"),
        ("x.y.shop.example", "long"),
        ("shop.example", "short"),
        ("example", "none"),
    ] {
        let request = Request { host: Some(host.into()), ..get("/a/long/path") };
        assert_eq!(winner(&routes, &request).as_deref(), Some(name), "{host}");
    }
}

#[test]
fn only_the_length_of_the_path_counts_not_how_it_is_matched() {
    let routes = [
        ("prefix", one(path("PathPrefix", "/api/v1"))),
        ("exact", one(path("Exact", "/api/v1"))),
        ("pattern", one(path("RegularExpression", "/api/.+"))),
    ];
    assert_eq!(winner(&routes, &get("/api/v1")).as_deref(), Some("prefix"), "a tie goes to the first");
    assert_eq!(
        winner(&routes, &get("/api/v1/x")).as_deref(),
        Some("pattern"),
        "a pattern counts the whole path"
    );
    let root = [("none", json!({"rules": [{}]})), ("root", one(path("PathPrefix", "/")))];
    assert_eq!(winner(&root, &get("/x")).as_deref(), Some("none"), "no match is the prefix /");
}

#[test]
fn after_the_path_headers_count_then_query_then_method() {
    let root = path("PathPrefix", "/");
    let method = one(with(root.clone(), json!({"method": "GET"})));
    let query = one(with(root.clone(), json!({"queryParams": [{"name": "q", "value": "1"}]})));
    let headers = one(with(root, json!({"headers": [header("X-A")]})));
    let longer = one(path("PathPrefix", "/x"));
    let request = Request { headers: vec![("x-a".into(), "1".into())], ..Request::new("GET", "/x?p=0&q=1") };
    let mut routes = vec![("method", method), ("query", query), ("headers", headers), ("longer", longer)];
    while let Some(expected) = routes.last().map(|(name, _)| *name) {
        assert_eq!(winner(&routes, &request).as_deref(), Some(expected));
        routes.pop();
    }
}

#[test]
fn ties_go_to_the_first_route_and_a_rules_best_match_counts() {
    let routes = [
        ("first", json!({"rules": [{"matches": [path("PathPrefix", "/"), path("PathPrefix", "/a/b")]}]})),
        ("second", one(path("PathPrefix", "/a/b"))),
        ("third", one(path("PathPrefix", "/a"))),
    ];
    assert_eq!(winner(&routes, &get("/a/b")).as_deref(), Some("first"));
    assert_eq!(winner(&routes, &get("/a/c")).as_deref(), Some("third"));
}

#[test]
fn prefixes_match_whole_segments_and_patterns_whole_values() {
    let takes = |matching: Value, path: &str| winner(&[("r", one(matching))], &get(path)).is_some();
    for (prefix, path, taken) in [
        ("/a", "/a", true),
        ("/a", "/a/", true),
        ("/a/", "/a", true),
        ("/a", "/a/b", true),
        ("/a", "/ab", false),
    ] {
        assert_eq!(takes(self::path("PathPrefix", prefix), path), taken, "{prefix} {path}");
    }
    assert!(takes(path("RegularExpression", "/a[0-9]"), "/a1?x=/b"));
    assert!(!takes(path("RegularExpression", "/a[0-9]"), "/a12"));
    let value = json!({"headers": [{"type": "RegularExpression", "name": "v", "value": "v[12]"}]});
    let sent = |value: &str| Request { headers: vec![("V".into(), value.into())], ..get("/") };
    assert!(winner(&[("r", one(value.clone()))], &sent("v2")).is_some());
    assert!(winner(&[("r", one(value))], &sent("v22")).is_none());
}

#[test]
fn all_headers_and_parameters_of_a_match_must_be_there_with_parameters_decoded() {
    let matching =
        json!({"headers": [header("a"), header("b")], "queryParams": [{"name": "q x", "value": "1&2"}]});
    let route = [("r", one(matching))];
    let request = |headers: &[&str], path: &str| Request {
        headers: headers.iter().map(|name| ((*name).into(), "1".into())).collect(),
        ..get(path)
    };
    assert!(winner(&route, &request(&["a", "b"], "/?z=0&q+x=1%262")).is_some());
    assert!(winner(&route, &request(&["a"], "/?q+x=1%262")).is_none());
    assert!(winner(&route, &request(&["a", "b"], "/?q+x=1&2")).is_none());
    assert!(winner(&route, &request(&["a", "b"], "/")).is_none());
}

#[test]
fn a_grpc_service_counts_before_its_method_before_headers() {
    let rule = |matching: Value| json!({"parentRefs": [on_server("s")], "rules": [{"matches": [matching]}]});
    let world = World::new()
        .server("s", json!({"proxyProtocol": "gRPC", "accessPolicy": "all-unauthenticated"}))
        .object(Kind::GRPCRoute, "a-header", 1, rule(json!({"method": {}, "headers": [header("h")]})))
        .object(Kind::GRPCRoute, "b-method", 2, rule(json!({"method": {"method": "AVeryLongMethodName"}})))
        .object(Kind::GRPCRoute, "c-service", 3, rule(json!({"method": {"service": "s.V"}})));
    let call = |service: &str, method: &str| {
        let request = Request { headers: vec![("h".into(), "1".into())], ..Request::grpc(service, method) };
        world.says(&stranger(), Some(&request)).split(' ').nth(2).unwrap_or_default().to_owned()
    };
    assert_eq!(call("s.V", "AVeryLongMethodName"), "grpcroute/c-service");
    assert_eq!(call("s.W", "AVeryLongMethodName"), "grpcroute/b-method");
    assert_eq!(call("s.W", "M"), "grpcroute/a-header");
    let not_post = Request { method: "GET".into(), ..Request::grpc("s.V", "M") };
    assert_eq!(world.check(&stranger(), Some(&not_post)).decision, Decision::UnmatchedRoute);
}
