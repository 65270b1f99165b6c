use super::*;
use crate::{args::Cli, cmd::Command, golden, sample};
use clap::Parser;

fn parse(args: &[&str]) -> Result<WhoCanArgs, clap::Error> {
    let cli = Cli::try_parse_from([&["linkerd-mcp", "who-can"], args].concat())?;
    let Command::WhoCan(args) = cli.command else { panic!("not who-can") };
    Ok(args)
}

fn printed(args: &[&str], request: &ListAccessRequest) -> String {
    parse(args).unwrap().print(&sample::policy::listed(), request)
}

#[test]
fn the_tables_are_as_checked_in() {
    let to = ListAccessRequest { to: "shop/cart".into(), ..ListAccessRequest::default() };
    golden::compare("who-can.txt", &printed(&["cart"], &to));
    golden::compare("who-can-all-wide.txt", &printed(&["cart", "--all", "-o", "wide"], &to));
    golden::compare("who-can.json", &printed(&["cart", "-o", "json"], &to));
}

#[test]
fn the_grid_is_as_checked_in() {
    let namespace = ListAccessRequest { namespace: "shop".into(), ..ListAccessRequest::default() };
    golden::compare("who-can-grid.txt", &printed(&[], &namespace));
}

#[test]
fn no_text_of_the_cluster_moves_the_cursor() {
    let mut answer = sample::policy::listed();
    answer.ports[0].server = "server/shop/\u{1b}[2J".into();
    answer.calls[0].from = "shop/deployment/\u{202e}web".into();
    for request in [
        ListAccessRequest { to: "shop/cart".into(), ..ListAccessRequest::default() },
        ListAccessRequest { namespace: "shop".into(), ..ListAccessRequest::default() },
    ] {
        let text = parse(&["cart"]).unwrap().print(&answer, &request);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
    }
}

#[test]
fn nothing_listed_is_nothing_printed() {
    let nothing = ListAccessResponse::default();
    for request in [
        ListAccessRequest { to: "shop/cart".into(), ..ListAccessRequest::default() },
        ListAccessRequest { namespace: "shop".into(), ..ListAccessRequest::default() },
    ] {
        assert_eq!(parse(&[]).unwrap().print(&nothing, &request), "");
    }
}
