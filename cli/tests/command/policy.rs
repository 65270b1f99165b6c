//! Questions about policy at an address: what is asked, what is printed, and what the exit code says.

use crate::support::{Api, run, serve};

/// Two lines that every dated answer of the sample ends with on stderr.
const DATED: &str = "As of 2026-01-02T03:04:05Z, rates over 60s (Prometheus scrapes every 15s).\n";

async fn ask(args: &[&str]) -> (i32, String, String) {
    let address = serve(Api::default()).await.to_string();
    run(&[args, &["--api-addr", &address]].concat()).await
}

#[tokio::test]
async fn can_answers_with_its_exit_code() {
    let denied = (1, include_str!("../golden/can-denied.txt").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["can", "books", "cart:80", "-n", "shop"]).await, denied);
    let mixed = (1, include_str!("../golden/can-mixed.txt").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["can", "shop/books", "shop/cart:80", "--path", "/cart"]).await, mixed);
    let (code, stdout, _) = ask(&["can", "web", "cart:80", "-n", "shop"]).await;
    assert_eq!(code, 0);
    assert!(stdout.starts_with("ALLOWED: shop/deploy/books may call shop/svc/cart:80\n"), "{stdout}");
    let json = (1, include_str!("../golden/can.json").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["can", "books", "cart:80", "-n", "shop", "-o", "json"]).await, json);
}

#[tokio::test]
async fn what_cannot_be_answered_exits_2_and_is_not_taken_for_a_denial() {
    let (code, stdout, stderr) = ask(&["can", "nobody", "cart:80", "-n", "shop"]).await;
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.starts_with("error: there is no Service or workload `shop/nobody` in the graph\nhint: "),
        "{stderr}"
    );
    for args in [&["can", "a", "b"][..], &["lint"], &["endpoints", "a"]] {
        let (code, stdout, stderr) = run(&[args, &["--api-addr", "127.0.0.1:1"]].concat()).await;
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(stderr.starts_with("error: nothing answers at 127.0.0.1:1\n"), "{stderr}");
    }
    for args in [&["who-can", "a"][..], &["authz", "a"], &["denials"], &["resolve"]] {
        let (code, ..) = run(&[args, &["--api-addr", "127.0.0.1:1"]].concat()).await;
        assert_eq!(code, 1, "{args:?}");
    }
}

#[tokio::test]
async fn who_can_asks_in_three_directions() {
    let (code, stdout, stderr) = ask(&["who-can", "cart", "-n", "shop"]).await;
    assert_eq!(code, 0);
    let header = "PORT               SERVICES       SERVER             PROTOCOL   OPEN TO          LETS IN\n";
    assert!(stdout.starts_with(header), "{stdout}");
    assert_eq!(stderr, format!("1 call of known workloads is denied; --all shows them.\n{DATED}"));
    let (code, stdout, _) = ask(&["who-can", "--from", "deploy/web", "-n", "shop"]).await;
    assert_eq!((code, stdout.lines().count()), (0, 4), "{stdout}");
    let grid = (0, include_str!("../golden/who-can-grid.txt").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["who-can", "-n", "shop"]).await, grid);
    let (code, _, stderr) = ask(&["who-can"]).await;
    assert_eq!((code, stderr.as_str()), (2, "error: name a namespace with -n\n"));
}

#[tokio::test]
async fn authz_shows_a_resource_or_all_of_a_type() {
    let all = (0, include_str!("../golden/authz.txt").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["authz", "ns/shop"]).await, all);
    let (code, stdout, _) = ask(&["authz", "sts", "-n", "shop", "-o", "wide"]).await;
    assert_eq!((code, stdout.lines().count()), (0, 2), "{stdout}");
    let (code, stdout, _) = ask(&["authz", "deploy", "cart", "-n", "shop"]).await;
    assert_eq!((code, stdout.lines().count()), (0, 4), "{stdout}");
    let (code, stdout, stderr) = ask(&["authz", "ds", "-n", "shop"]).await;
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert!(stderr.starts_with("Nothing of that type has ports there.\n"), "{stderr}");
}

#[tokio::test]
async fn lint_fails_on_what_is_as_grave_as_asked() {
    let golden = include_str!("../golden/lint.txt");
    let summary = "1 error, 1 warning, 1 note in 12 policy objects.";
    let expected = |code| (code, golden.to_owned(), format!("{summary}\n{DATED}"));
    assert_eq!(ask(&["lint", "-A"]).await, expected(1));
    assert_eq!(ask(&["lint", "-A", "--fail-on", "never"]).await, expected(0));
    let tidy = (0, String::new(), format!("No findings in 12 policy objects.\n{DATED}"));
    assert_eq!(ask(&["lint", "-n", "tidy", "--fail-on", "info"]).await, tidy);
    let (code, _, stderr) = ask(&["lint", "-n", "shop", "-A"]).await;
    assert_eq!((code, stderr.as_str()), (2, "error: give -n or -A, not both\n"));
}

#[tokio::test]
async fn what_is_enforced_otherwise_than_written_is_an_error_with_both_sides() {
    let (code, stdout, stderr) = ask(&["lint", "-n", "shop", "--enforced"]).await;
    let golden = include_str!("../golden/lint-enforced.txt");
    assert_eq!((code, stdout.as_str()), (1, golden));
    let summary =
        "2 errors, 1 warning, 1 note in 12 policy objects. 7 ports were compared with what Linkerd enforces.";
    assert_eq!(stderr, format!("{summary}\n{DATED}"));
    let (_, stdout, _) = ask(&["lint", "-n", "shop", "--enforced", "-o", "json"]).await;
    assert_eq!(stdout, include_str!("../golden/lint-enforced.json"));
}

#[tokio::test]
async fn endpoints_answers_with_its_exit_code() {
    let differ = (1, include_str!("../golden/endpoints.txt").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["endpoints", "cart:80", "-n", "shop"]).await, differ);
    let (code, stdout, stderr) =
        ask(&["endpoints", "svc/cart", "-n", "shop", "--client-namespace", "shop"]).await;
    assert_eq!((code, stdout.lines().count()), (0, 4), "{stdout}");
    assert_eq!(stderr, format!("Nothing differs from the graph.\n{DATED}"));
    let (code, stdout, stderr) = ask(&["endpoints", "quiet/cart"]).await;
    assert_eq!((code, stdout.as_str()), (0, ""));
    let nothing = "Proxies are told of no endpoints. Nothing differs from the graph.\n";
    assert_eq!(stderr, format!("{nothing}{DATED}"));
    let json = (1, include_str!("../golden/endpoints.json").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["endpoints", "shop/cart:80", "-o", "json"]).await, json);
    let (code, stdout, stderr) = ask(&["endpoints", "shop/books:80"]).await;
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("it does not know Linkerd's own controllers"), "{stderr}");
}

#[tokio::test]
async fn denials_are_explained() {
    let golden = include_str!("../golden/denials.txt").to_owned();
    assert_eq!(ask(&["denials", "-n", "shop"]).await, (0, golden.clone(), DATED.to_owned()));
    let (code, stdout, _) = ask(&["denials", "cart", "--from", "deploy/books", "-n", "shop"]).await;
    assert_eq!(code, 0);
    assert!(golden.starts_with(&stdout) && stdout.len() < golden.len(), "{stdout}");
    let nothing = (0, String::new(), format!("Nothing is seen being denied.\n{DATED}"));
    assert_eq!(ask(&["denials", "-n", "quiet"]).await, nothing);
}

#[tokio::test]
async fn resolve_asks_a_mesh_where_no_manifest_is_named() {
    let table = (0, include_str!("../golden/resolve.txt").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["resolve", "-n", "shop"]).await, table);
    let json = (0, include_str!("../golden/resolve.json").to_owned(), DATED.to_owned());
    assert_eq!(ask(&["resolve", "deploy/cart", "-n", "shop", "-o", "json"]).await, json);
}
