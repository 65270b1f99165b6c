use super::*;
use crate::{args::Cli, cmd::Command};
use clap::Parser;
use linkerd_mcp_proto::v1::{Decision, KindState, TopologyFreshness};

fn parse(args: &[&str]) -> Result<CanArgs, String> {
    let cli = Cli::try_parse_from([&["linkerd-mcp", "can"], args].concat()).map_err(|e| e.to_string())?;
    let Command::Can(can) = cli.command else { panic!("not can") };
    can.validate().map_err(|usage| usage.to_string())?;
    Ok(can)
}

fn request(args: &[&str]) -> CheckAccessRequest {
    parse(args).unwrap().request(Some("shop")).unwrap()
}

#[test]
fn names_get_the_namespace_and_a_connection_has_no_request() {
    let expected = CheckAccessRequest {
        from: "shop/deployment/web".into(),
        to: "shop/cart:80".into(),
        ..CheckAccessRequest::default()
    };
    assert_eq!(request(&["deploy/web", "cart:80"]), expected);
}

#[test]
fn a_request_is_put_together_of_its_flags() {
    let asked = request(&[
        "web",
        "cart",
        "--path",
        "/x",
        "--host",
        "cart.example",
        "--header",
        "X-User=a=b",
        "--header",
        "e=",
        "--address",
        "10.4.0.7",
    ]);
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    let expected = CheckAccessRequest {
        from: "shop/web".into(),
        to: "shop/cart".into(),
        method: "GET".into(),
        path: "/x".into(),
        host: "cart.example".into(),
        headers: vec![header("x-user", "a=b"), header("e", "")],
        address: "10.4.0.7".into(),
        ..CheckAccessRequest::default()
    };
    assert_eq!(asked, expected);
    let grpc = request(&["web", "cart", "--grpc", "shop.v1.Cart/Add"]);
    assert_eq!((grpc.method.as_str(), grpc.path.as_str()), ("POST", "/shop.v1.Cart/Add"));
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_with_what_to_write() {
    for (args, sentence) in [
        (&["web"][..], "TO[:PORT]"),
        (&["web", "cart", "--method", "GET"][..], "--path"),
        (&["web", "cart", "--path", "x"][..], "begins with a slash"),
        (&["web", "cart", "--host", "h"][..], "add --path or --grpc"),
        (&["web", "cart", "--header", "a=b"][..], "add --path or --grpc"),
        (&["web", "cart", "--path", "/", "--header", "ab"][..], "NAME=VALUE"),
        (&["web", "cart", "--grpc", "Cart"][..], "PACKAGE.SERVICE/METHOD"),
        (&["web", "cart", "--grpc", "a.B/C", "--path", "/"][..], "cannot be used with"),
        (&["web", "cart", "--address", "cart"][..], "IP address"),
        (&["web", "cart", "-o", "dot"][..], "possible values"),
        (&["web", "cart", "--ignore-status"][..], "--filename"),
    ] {
        let refusal = parse(args).unwrap_err();
        assert!(refusal.contains(sentence), "{args:?}: {refusal}");
    }
}

#[test]
fn an_answer_that_allows_is_in_doubt_while_policies_were_never_read() {
    let answer = |decision: Decision, kind: &str, state: &str| CheckAccessResponse {
        decision: decision.into(),
        freshness: Some(Freshness {
            topology: Some(TopologyFreshness {
                synced: false,
                not_synced: vec![KindState { kind: kind.into(), state: state.into(), detail: String::new() }],
            }),
            ..Freshness::default()
        }),
        ..CheckAccessResponse::default()
    };
    let doubt = |decision, kind, state| doubt(&answer(decision, kind, state));
    assert_eq!(
        doubt(Decision::Allow, "servers.policy.linkerd.io", "forbidden").as_deref(),
        Some(
            "linkerd-mcp has not read servers.policy.linkerd.io, so whether the call is allowed is not certain"
        )
    );
    assert_eq!(doubt(Decision::Deny, "servers.policy.linkerd.io", "forbidden"), None);
    assert_eq!(doubt(Decision::Allow, "servers.policy.linkerd.io", "failing"), None);
    assert_eq!(doubt(Decision::Allow, "links.multicluster.linkerd.io", "forbidden"), None);
}
