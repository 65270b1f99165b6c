//! `linkerd-mcp uninstall`: what is of ours in the cluster, for `kubectl delete -f -`.

use crate::{
    args::Globals,
    install::{
        live::{Error, Live},
        manifest::{self, Format},
    },
    terminal,
};
use clap::Args;

/// Arguments of `uninstall`.
#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// How to print the objects
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
}

/// Prints everything with our label, in whatever namespace, and our Namespace last.
pub(crate) async fn run(globals: &Globals, args: &UninstallArgs) -> anyhow::Result<()> {
    let found = Live::new(globals).await?.labelled().await?;
    if found.is_empty() {
        return Err(Error::NothingInstalled.into());
    }
    terminal::data(manifest::print(&found, args.output).as_bytes())
}
