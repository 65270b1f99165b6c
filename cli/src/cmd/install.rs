//! `linkerd-mcp install`: the manifests, for `kubectl apply -f -`.

use crate::{
    args::{Globals, values::ValueArgs},
    install::{
        self, Values,
        live::Live,
        manifest::{self, Document, Format},
        read, set_unless_set,
    },
    terminal,
};
use clap::Args;

/// Arguments of `install`, and of `prune`, which has to render the same.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// Ask no cluster: neither whether Linkerd is there, nor for its DNS domain and viz
    #[arg(long)]
    pub(crate) ignore_cluster: bool,
    /// The same, by the name that linkerd viz has for it
    #[arg(long)]
    pub(crate) skip_checks: bool,
    /// How to print the manifests
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Taken as linkerd viz takes it; nothing here waits
    #[arg(long, hide = true, value_name = "DURATION")]
    pub(crate) wait: Option<String>,
    #[command(flatten)]
    pub(crate) values: ValueArgs,
}

/// Prints the manifests.
pub(crate) async fn run(globals: &Globals, args: &InstallArgs) -> anyhow::Result<()> {
    let mut set = values(globals, args)?;
    if !args.ignore_cluster && !args.skip_checks {
        Live::new(globals).await?.adopt(&mut set).await?;
    }
    let documents = rendered(globals, set)?;
    terminal::data(manifest::print(&documents, args.output).as_bytes())
}

/// The values that the flags set, the control plane's namespace among them.
pub(super) fn values(globals: &Globals, args: &InstallArgs) -> Result<Values, install::Error> {
    let mut set = read::read(&args.values)?;
    set_unless_set(&mut set, &["linkerdNamespace"], globals.linkerd_namespace.clone().into());
    Ok(set)
}

/// What they render to, in the namespace that was given.
pub(super) fn rendered(globals: &Globals, set: Values) -> Result<Vec<Document>, install::Error> {
    install::render(set, globals.mcp_namespace.as_deref().unwrap_or(install::NAME))
}
