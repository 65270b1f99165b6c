//! `linkerd-mcp install`: the manifests, for `kubectl apply -f -`.

use crate::{
    args::{Globals, values::ValueArgs},
    check::{
        self,
        look::{Scope, look},
        seen::Gap,
    },
    install::{
        self, Values,
        live::Live,
        manifest::{self, Document, Format},
        read, set_unless_set, text_of,
    },
    terminal,
};
use clap::Args;

/// Arguments of `install`, and of `prune`, which has to render the same.
#[derive(Debug, Args)]
pub(crate) struct InstallArgs {
    /// Ask no cluster: neither whether linkerd-mcp can be installed there, nor for its DNS domain and viz
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
    let asks = !args.ignore_cluster && !args.skip_checks;
    if asks {
        Live::new(globals).await?.adopt(&mut set).await?;
    }
    let names_prometheus = text_of(&set, &["prometheus", "url"]).is_some_and(|url| !url.is_empty());
    let control_plane = text_of(&set, &["linkerdNamespace"]).unwrap_or(&globals.linkerd_namespace).to_owned();
    let documents = rendered(globals, set)?;
    if asks {
        let globals = Globals { linkerd_namespace: control_plane, ..globals.clone() };
        fit(&globals, &documents, names_prometheus).await?;
    }
    terminal::data(manifest::print(&documents, args.output).as_bytes())
}

/// Says what is not well for these manifests in the cluster, and refuses where they cannot be applied or would not work.
async fn fit(globals: &Globals, documents: &[Document], names_prometheus: bool) -> anyhow::Result<()> {
    let scope = Scope { globals, pre: true, proxy: false, namespace: None, documents: Some(documents) };
    let mut seen = look(scope).await;
    if names_prometheus {
        // Where viz is does not matter then.
        seen.viz = Err(Gap::NotLooked);
    }
    let report = check::judge(&[check::PRE], &seen);
    terminal::say(&report.complaints());
    anyhow::ensure!(
        report.success(),
        "linkerd-mcp cannot be installed here as it is; --skip-checks prints the manifests all the same"
    );
    Ok(())
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
