//! `linkerd-mcp prune`: what is of ours in the cluster and no longer in the manifests, for `kubectl delete -f -`.

use super::install::{InstallArgs, rendered, values};
use crate::{
    args::Globals,
    install::{live::Live, manifest},
    terminal,
};
use std::collections::BTreeSet;

/// Prints everything with our label that `install` with the same flags does not print. Nothing is an answer, too.
pub(crate) async fn run(globals: &Globals, args: &InstallArgs) -> anyhow::Result<()> {
    let live = Live::new(globals).await?;
    let mut set = values(globals, args)?;
    if !args.ignore_cluster && !args.skip_checks {
        live.adopt(&mut set).await?;
    }
    let wanted: BTreeSet<_> = rendered(globals, set)?.iter().map(|document| document.reference()).collect();
    let mut found = live.labelled().await?;
    found.retain(|document| !wanted.contains(&document.reference()));
    terminal::data(manifest::print(&found, args.output).as_bytes())
}
