//! The command line: the global flags that every Linkerd extension takes, and the commands.
//!
//! The flags are global, so that they work before and after the command: `linkerd mcp --context X graph` and
//! `linkerd mcp graph --context X`.

pub(crate) mod account;
pub(crate) mod address;
pub(crate) mod cluster;
pub(crate) mod group;
pub(crate) mod manifests;
pub(crate) mod tolerant;
pub(crate) mod values;

use crate::cmd::Command;
use account::Account;
use address::Address;
use clap::{ArgAction, Args, Parser, builder::BoolishValueParser};
use group::Groups;
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  the question was answered (also: the reader of the output went away, or Ctrl-C ended a watch)
  1  the question could not be answered; the reason is on stderr
  2  the command line is not understood
`can`, `lint`, `endpoints`, `plan`, `apply` and `rollback` answer with theirs, and exit 2 when there is no answer: see
their help.

Data goes to stdout, everything else to stderr.";

/// Who calls whom in a Linkerd mesh, how fast, over mTLS or not, and allowed by what.
#[derive(Debug, Parser)]
#[command(
    name = "linkerd-mcp",
    version,
    after_help = EXIT_CODES,
    propagate_version = false,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 110
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Ask the linkerd-mcp at this address instead of looking for one in the cluster
    #[arg(long, global = true, value_name = "HOST:PORT", env = "LINKERD_MCP_API_ADDR")]
    pub(crate) api_addr: Option<Address>,

    /// Name of the kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// Username to impersonate for Kubernetes operations
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(crate) impersonate: Option<String>,

    /// Group to impersonate for Kubernetes operations; may be repeated
    #[arg(long = "as-group", global = true, value_name = "GROUP", action = ArgAction::Append)]
    pub(crate) as_group: Vec<Groups>,

    /// ServiceAccount to ask the API as [default: mcp-viewer in the namespace of this extension]
    #[arg(long, global = true, value_name = "NAMESPACE/NAME", env = "LINKERD_MCP_AS_SERVICE_ACCOUNT")]
    pub(crate) as_service_account: Option<Account>,

    /// Path to the kubeconfig file to use
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Namespace in which Linkerd is installed
    #[arg(
        long,
        short = 'L',
        global = true,
        value_name = "NAMESPACE",
        env = "LINKERD_NAMESPACE",
        default_value = "linkerd"
    )]
    pub(crate) linkerd_namespace: String,

    /// Namespace in which this extension is installed, instead of the one labelled linkerd.io/extension=mcp
    #[arg(long, global = true, value_name = "NAMESPACE")]
    pub(crate) mcp_namespace: Option<String>,

    /// Say on stderr what is being done
    #[arg(
        long,
        global = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "false",
        hide_default_value = true,
        hide_possible_values = true,
        value_name = "BOOL",
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) verbose: bool,
}

/// A command line that clap accepts and that still makes no sense. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

// === impl Globals ===

impl Globals {
    /// The groups to impersonate, from every `--as-group`.
    pub(crate) fn groups(&self) -> Vec<String> {
        self.as_group.iter().flat_map(|groups| groups.0.iter().cloned()).collect()
    }

    /// True when a flag names the cluster to ask: then no other answer will do.
    pub(crate) fn names_a_cluster(&self) -> bool {
        self.context.is_some()
            || self.kubeconfig.is_some()
            || self.impersonate.is_some()
            || self.mcp_namespace.is_some()
            || self.as_service_account.is_some()
            || !self.groups().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::graph::Format;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Cli {
        Cli::try_parse_from([&["linkerd-mcp"], args].concat()).unwrap()
    }

    #[test]
    fn the_definition_has_no_conflicts() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_that_linkerd_check_forwards_is_understood() {
        let cli = parse(&[
            "version",
            "--api-addr=127.0.0.1:8086",
            "--context=kind",
            "--as=alice",
            "--as-group=[dev,ops]",
            "--kubeconfig=/tmp/config",
            "--linkerd-namespace=linkerd",
            "--verbose=false",
        ]);
        assert_eq!(cli.globals.api_addr, Some("127.0.0.1:8086".parse().unwrap()));
        assert_eq!(cli.globals.context.as_deref(), Some("kind"));
        assert_eq!(cli.globals.impersonate.as_deref(), Some("alice"));
        assert_eq!(cli.globals.groups(), ["dev", "ops"]);
        assert_eq!(cli.globals.kubeconfig, Some("/tmp/config".into()));
        assert_eq!(cli.globals.linkerd_namespace, "linkerd");
        assert!(!cli.globals.verbose);
    }

    #[test]
    fn an_empty_list_of_groups_names_no_cluster() {
        let cli = parse(&["version", "--as-group=[]", "--linkerd-namespace=linkerd", "--verbose=false"]);
        assert_eq!(cli.globals.groups(), Vec::<String>::new());
        assert!(!cli.globals.names_a_cluster());
        assert!(parse(&["version", "--as-group", "a", "--as-group", "b"]).globals.names_a_cluster());
    }

    #[test]
    fn global_flags_work_before_and_after_the_command() {
        for args in
            [["--context", "kind", "-L", "l5d", "version"], ["version", "--context", "kind", "-L", "l5d"]]
        {
            let cli = parse(&args);
            assert_eq!(cli.globals.context.as_deref(), Some("kind"));
            assert_eq!(cli.globals.linkerd_namespace, "l5d");
        }
    }

    #[test]
    fn verbose_takes_a_value_only_after_an_equals_sign() {
        for (args, verbose) in [
            (&["--verbose", "graph"][..], true),
            (&["graph", "--verbose"][..], true),
            (&["graph", "--verbose=true"][..], true),
            (&["graph", "--verbose=false"][..], false),
            (&["graph"][..], false),
        ] {
            assert_eq!(parse(args).globals.verbose, verbose, "{args:?}");
        }
    }

    #[test]
    fn graph_takes_every_format_and_depth_needs_a_start() {
        for format in ["table", "wide", "json", "yaml", "dot", "mermaid", "svg"] {
            parse(&["graph", "-A", "-o", format]);
        }
        let Command::Graph(args) =
            parse(&["graph", "-n", "shop", "--from", "deploy/web", "--depth", "3"]).command
        else {
            panic!("not graph")
        };
        assert_eq!((args.namespace.as_deref(), args.depth, args.output), (Some("shop"), 3, Format::Table));
        for args in [
            &["graph", "--depth", "2"][..],
            &["graph", "-n", "a", "-A"][..],
            &["graph", "-o", "xml"][..],
            &["graph", "--from", "web", "--depth", "0"][..],
            &["graph", "--from", "web", "--depth", "17"][..],
            &["graph", "--nonsense"][..],
            &["graph", "--watch", "-o", "svg"][..],
        ] {
            let args = [&["linkerd-mcp"], args].concat();
            let refused = match Cli::try_parse_from(&args) {
                Err(_) => true,
                Ok(Cli { command: Command::Graph(graph), .. }) => graph.validate().is_err(),
                Ok(_) => false,
            };
            assert!(refused, "{args:?}");
        }
    }

    #[test]
    fn serve_and_demo_read_their_flags() {
        let Command::Serve(serve) = parse(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--prometheus-url",
            "http://127.0.0.1:9090",
            "--prometheus-matcher",
            "cluster=\"east\"",
            "--prometheus-matcher",
            "env=~\"prod|stage\"",
        ])
        .command
        else {
            panic!("not serve")
        };
        assert_eq!(serve.listen.port(), 0);
        assert_eq!(serve.prometheus.endpoint.prometheus_matcher.len(), 2);
        let Command::Demo(demo) = parse(&["demo", "--services", "50", "--seed", "7", "--once"]).command
        else {
            panic!("not demo")
        };
        assert_eq!((demo.services, demo.seed, demo.once), (Some(50), 7, true));
        for args in [
            &["serve", "--listen", "8086"][..],
            &["serve", "--prometheus-matcher", "cluster=east"][..],
            &["demo", "--services", "0"][..],
        ] {
            assert!(Cli::try_parse_from([&["linkerd-mcp"], args].concat()).is_err(), "{args:?}");
        }
    }
}
