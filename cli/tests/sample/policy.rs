//! Answers about policy with everything that an output can meet.

use linkerd_mcp_proto::v1::{
    Access, AccessCall, CheckAccessRequest, CheckAccessResponse, CompareEndpointsResponse, Decision, Denial,
    ExplainDenialsResponse, Finding, Flip, Grant, LintPoliciesResponse, ListAccessResponse, NodeMetrics,
    PortAccess, Reason, ResolvePolicyResponse, ResolvedPort, RouteAccess, Severity, ToldEndpoint,
};

const DOMAIN: &str = "serviceaccount.identity.linkerd.cluster.local";

fn reason(reason: &str, text: &str, origins: &[&str]) -> Reason {
    Reason {
        reason: reason.into(),
        text: text.into(),
        origins: origins.iter().map(|it| (*it).to_owned()).collect(),
    }
}

fn access(workload: &str, decision: Decision, reasons: Vec<Reason>) -> Access {
    Access {
        workload: workload.into(),
        port: 8080,
        pod: "cart-5d-1".into(),
        pods: 2,
        client: "shop/deployment/books".into(),
        client_identity: format!("books.shop.{DOMAIN}"),
        decision: decision.into(),
        reasons,
        ..Access::default()
    }
}

fn flip() -> Flip {
    Flip {
        text: "let books.shop in on server/shop/cart-http with an AuthorizationPolicy".into(),
        becomes: Decision::Allow.into(),
        manifest: "apiVersion: policy.linkerd.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata:\n  name: \
                   cart-books\n  namespace: shop\n"
            .into(),
        removes: vec!["authorizationpolicy/shop/cart-nobody".into()],
    }
}

fn refused() -> Access {
    let reasons = vec![
        reason("server", "server/shop/cart-http selects the port (http1)", &["server/shop/cart-http"]),
        reason(
            "refuses",
            "authorizationpolicy/shop/cart-web does not let the client in: \u{1b}[2Jits identity is not listed",
            &["authorizationpolicy/shop/cart-web"],
        ),
    ];
    Access { flips: vec![flip()], ..access("shop/deployment/cart", Decision::Deny, reasons) }
}

/// A connection that is refused.
pub(crate) fn denied() -> (CheckAccessRequest, CheckAccessResponse) {
    let request = CheckAccessRequest {
        from: "shop/books".into(),
        to: "shop/cart:80".into(),
        ..CheckAccessRequest::default()
    };
    let answer = CheckAccessResponse {
        freshness: super::graph().freshness,
        from: "shop/deployment/books".into(),
        to: "shop/cart:80".into(),
        decision: Decision::Deny.into(),
        mixed: false,
        accesses: vec![refused()],
        notes: vec!["httproute/shop/split may send calls to shop/cart to other backends.".into()],
    };
    (request, answer)
}

/// A request that one kind of pod refuses and another lets in.
pub(crate) fn mixed() -> (CheckAccessRequest, CheckAccessResponse) {
    let (request, mut answer) = denied();
    let request = CheckAccessRequest { method: "GET".into(), path: "/cart".into(), ..request };
    let admits = |workload: &str, address: &str| Access {
        client_identity: String::new(),
        client_address: address.into(),
        flips: vec![Flip {
            text: "remove the annotation".into(),
            becomes: Decision::Deny.into(),
            ..Flip::default()
        }],
        ..access(
            workload,
            Decision::Allow,
            vec![reason("target_not_meshed", "the target has no proxy, so no policy is enforced", &[])],
        )
    };
    answer.mixed = true;
    answer.accesses.push(admits("shop/deployment/cart-canary", "10.4.0.7"));
    answer.accesses.push(admits("shop/deployment/cart-canary", ""));
    answer.accesses.push(admits("shop/deployment/cart-canary", ""));
    (request, answer)
}

fn grant(authorization: &str, clients: &[&str]) -> Grant {
    Grant {
        authorization: authorization.into(),
        clients: clients.iter().map(|it| (*it).to_owned()).collect(),
        ..Grant::default()
    }
}

fn call(from: &str, workload: &str, decision: Decision, by: &[&str]) -> AccessCall {
    AccessCall {
        from: from.into(),
        workload: workload.into(),
        port: 8080,
        decision: decision.into(),
        by: by.iter().map(|it| (*it).to_owned()).collect(),
        ..AccessCall::default()
    }
}

/// Three ports: of a Server with routes, of the default policy, and one where no policy is enforced.
pub(crate) fn listed() -> ListAccessResponse {
    let web = format!("web.shop.{DOMAIN}");
    let any = format!("*.ops.{DOMAIN}");
    let cart = PortAccess {
        workload: "shop/deployment/cart".into(),
        port: 8080,
        port_name: "http".into(),
        pod: "cart-5d-1".into(),
        pods: 2,
        services: vec!["shop/cart:80".into()],
        server: "server/shop/cart-http".into(),
        protocol: "http1".into(),
        open_to: "listed".into(),
        grants: vec![Grant {
            networks: vec!["10.0.0.0/8".into()],
            metrics: Some(NodeMetrics { rps: Some(12.5), success_rate: Some(0.995), denied_per_s: None }),
            latency_p50_ms: Some(4.0),
            latency_p95_ms: Some(20.0),
            latency_p99_ms: None,
            ..grant("authorizationpolicy/shop/cart-web", &[&web])
        }],
        routes: vec![
            RouteAccess {
                route: "httproute.policy.linkerd.io/shop/cart-admin".into(),
                matches: vec!["DELETE /admin/*".into()],
                grants: vec![grant("authorizationpolicy/shop/cart-ops", &[&any])],
            },
            RouteAccess {
                route: "httproute.policy.linkerd.io/shop/cart-read".into(),
                matches: vec!["GET /*".into()],
                grants: vec![],
            },
        ],
        denied_per_s: Some(1.2),
        unrouted_per_s: Some(0.0),
    };
    let books = PortAccess {
        workload: "shop/deployment/books".into(),
        port: 8080,
        pods: 1,
        server: "default:all-unauthenticated".into(),
        protocol: "detect".into(),
        open_to: "everyone".into(),
        grants: vec![grant("default:all-unauthenticated", &["anyone"])],
        ..PortAccess::default()
    };
    let legacy = PortAccess {
        workload: "shop/statefulset/legacy".into(),
        port: 8080,
        pods: 1,
        open_to: "not_enforced".into(),
        ..PortAccess::default()
    };
    let deployment = |name: &str| format!("shop/deployment/{name}");
    let (cart_id, books_id) = (deployment("cart"), deployment("books"));
    ListAccessResponse {
        freshness: super::graph().freshness,
        ports: vec![cart, books, legacy],
        calls: vec![
            call(&books_id, &cart_id, Decision::Deny, &[]),
            AccessCall {
                rps: Some(12.5),
                ..call(&deployment("web"), &cart_id, Decision::Allow, &["authorizationpolicy/shop/cart-web"])
            },
            AccessCall {
                only_routes: vec!["httproute.policy.linkerd.io/shop/cart-admin".into()],
                ..call("ops/job/sweep", &cart_id, Decision::Deny, &["authorizationpolicy/shop/cart-ops"])
            },
            call(&deployment("web"), &books_id, Decision::Audit, &["default:audit"]),
            call(&deployment("web"), "shop/statefulset/legacy", Decision::Allow, &[]),
        ],
        truncated: false,
        notes: vec![],
    }
}

/// A finding of each severity.
pub(crate) fn linted() -> LintPoliciesResponse {
    let finding = |code: &str, severity: Severity, objects: &[&str], text: &str, fix: &str| Finding {
        code: code.into(),
        severity: severity.into(),
        objects: objects.iter().map(|it| (*it).to_owned()).collect(),
        text: text.into(),
        fix: fix.into(),
        ..Finding::default()
    };
    LintPoliciesResponse {
        freshness: super::graph().freshness,
        findings: vec![
            finding(
                "missing-referent",
                Severity::Error,
                &["authorizationpolicy/shop/cart-web", "server/shop/cart"],
                "it targets server/shop/cart, which does not exist,\nso it does nothing",
                "name server/shop/cart-http",
            ),
            finding(
                "selects-nothing",
                Severity::Warning,
                &["server/shop/old"],
                "no pod has the labels that it selects",
                "",
            ),
            finding("open-to-everyone", Severity::Info, &[], "anybody may call the port", "add a Server"),
        ],
        objects: 12,
        compared: 0,
        notes: vec![],
    }
}

/// What a comparison with the policy controller adds in front.
pub(crate) fn drift() -> Finding {
    Finding {
        code: "drift".into(),
        severity: Severity::Error.into(),
        objects: vec!["pod/shop/cart-5d-1:8080".into()],
        text: "Port 8080 of pod/shop/cart-5d-1 is enforced otherwise than written: authorization \
               authorizationpolicy/shop/cart-web is written but not enforced on the port"
            .into(),
        fix: "Look at the log of the policy controller.".into(),
        written_json: r#"{"authorizations":["cart-web"],"labels":{"name":"cart-http"}}"#.into(),
        enforced_json: r#"{"authorizations":[],"labels":{"name":"cart-http"}}"#.into(),
    }
}

/// Two endpoints with everything, and one that is known by its address alone; they differ from the graph.
pub(crate) fn told() -> CompareEndpointsResponse {
    let cart = |address: &str, pod: &str| ToldEndpoint {
        address: address.into(),
        weight: 10_000,
        identity: format!("cart.shop.{DOMAIN}"),
        protocol_hint: "h2".into(),
        pod: pod.into(),
        workload: "shop/deployment/cart".into(),
        zone: "east-1a".into(),
    };
    let outside = ToldEndpoint { address: "[fd00::7]:8080".into(), weight: 1, ..ToldEndpoint::default() };
    CompareEndpointsResponse {
        freshness: super::graph().freshness,
        endpoints: vec![cart("10.4.0.7:8080", "cart-5d-1"), cart("10.4.0.8:8080", "cart-5d-\u{1b}[2J2"), outside],
        differences: vec![
            "proxies are told of [fd00::7]:8080 (no pod), which the graph has not among the workloads behind the \
             Service"
                .into(),
            "[fd00::7]:8080 has the weight 1, most others have 10000".into(),
        ],
    }
}

/// A denial by a Server, and one by an unknown client.
pub(crate) fn explained() -> ExplainDenialsResponse {
    let denial = |src: &str, denied_per_s: f64, unrouted_per_s, accesses| Denial {
        edge_id: format!("{src}->shop/cart:80"),
        src: src.into(),
        dst: "shop/cart:80".into(),
        denied_per_s: Some(denied_per_s),
        unrouted_per_s,
        allowed_per_s: None,
        text: "The proxies of shop/deployment/cart refuse these calls.".into(),
        accesses,
    };
    ExplainDenialsResponse {
        freshness: super::graph().freshness,
        denials: vec![
            denial("shop/deployment/books", 3.25, None, vec![refused(), refused()]),
            denial(&format!("identity:bot.ops.{DOMAIN}"), 0.004, Some(0.5), vec![]),
        ],
        notes: vec![],
    }
}

/// Two ports of a pod, and an ExternalWorkload.
pub(crate) fn resolved() -> ResolvePolicyResponse {
    let port = |port, known, server: &str| ResolvedPort {
        workload: "shop/deployment/cart".into(),
        pod: "cart-5d-1".into(),
        port,
        known,
        status: "ok".into(),
        server_json: server.into(),
    };
    let server = r#"{"authorizations":[{"metadata":{"group":"policy.linkerd.io","kind":"authorizationpolicy",
        "name":"cart-web"}}],"labels":{"group":"policy.linkerd.io","kind":"server","name":"cart-http"},
        "protocol":{"kind":"http1","http_routes":[{"metadata":{"default":"default"}}]},"server_ips":0}"#;
    let outside = ResolvedPort {
        workload: "shop/externalworkload/vm".into(),
        pod: "vm".into(),
        status: "not_found".into(),
        ..port(80, true, "")
    };
    ResolvePolicyResponse {
        freshness: super::graph().freshness,
        ports: vec![port(8080, true, server), port(9999, false, server), outside],
    }
}
