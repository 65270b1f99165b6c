//! Who calls, and what is asked for.

use super::{Dice, World};
use linkerd_mcp_test::oracle::{Call, Caller};

pub(super) fn caller(dice: &mut Dice, world: &World) -> Caller {
    let addresses = [
        "10.1.0.5",
        "10.1.0.5",
        "10.1.0.5",
        "10.1.9.9",
        "10.2.0.1",
        "192.168.7.7",
        "203.0.113.9",
        "fd00::5",
        "2001:db8::1",
    ];
    let address =
        if dice.one_in(25) { dice.pick(&["127.0.0.1", "::1", "127.0.0.2"]) } else { dice.pick(&addresses) };
    let account = dice.pick(&["web", "web", "web", "web", "bot", "web.x"]);
    let namespace = dice.pick(&["a", "a", "b"]);
    let identity = match dice.roll(12) {
        0 | 1 => None,
        2 => Some("spiffe://root.example/vm".to_owned()),
        3 => Some(world.identity("Web", namespace)),
        4 => Some(format!("{account}.{namespace}.serviceaccount.identity.linkerd.cluster.local")),
        _ => Some(world.identity(account, namespace)),
    };
    Caller { address: address.parse().unwrap(), tls: identity.is_some() || dice.one_in(2), identity }
}

pub(super) fn http_call(dice: &mut Dice) -> Call {
    let paths = [
        "/",
        "/api",
        "/api",
        "/api/v1",
        "/apix",
        "/live",
        "/live?x=1",
        "/ready",
        "/api?q=1",
        "/api/v1?q=1&r=2",
        "/other",
        "/api/",
    ];
    let hosts = [
        None,
        None,
        Some("web.example"),
        Some("x.apps.example"),
        Some("a.b.apps.example"),
        Some("apps.example"),
        Some("WEB.example"),
    ];
    let headers = [
        vec![],
        vec![("x-role", "admin")],
        vec![("X-Role", "user")],
        vec![("x-role", "admin"), ("x-v", "v1")],
    ];
    Call {
        method: dice.pick(&["GET", "GET", "POST"]).to_owned(),
        path: dice.pick(&paths).to_owned(),
        host: dice.pick(&hosts).map(str::to_owned),
        headers: dice
            .pick(&headers)
            .into_iter()
            .map(|(n, v): (&str, &str)| (n.to_owned(), v.to_owned()))
            .collect(),
    }
}

pub(super) fn grpc_call(dice: &mut Dice) -> Call {
    let paths = ["/pkg.Svc/Get", "/pkg.Svc/Get", "/pkg.Svc/Put", "/pkg.Other/Get"];
    Call { method: "POST".to_owned(), path: dice.pick(&paths).to_owned(), ..http_call(dice) }
}
