//! `linkerd-mcp version`.

use crate::{args::Globals, client, terminal};
use clap::Args;

/// Arguments of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print the version of this command only; asks nobody
    #[arg(long)]
    client: bool,
    /// Print the number only
    #[arg(long)]
    short: bool,
}

const CLIENT: &str = env!("CARGO_PKG_VERSION");

/// Prints both versions. An API out of reach is no failure: its version is `unavailable`.
pub(crate) async fn run(globals: &Globals, args: VersionArgs) -> anyhow::Result<()> {
    let server = match args.client {
        true => None,
        false => Some(server(globals).await),
    };
    let mut out = String::new();
    for (title, version) in [("Client version: ", Some(CLIENT.to_owned())), ("Server version: ", server)] {
        if let Some(version) = version {
            out.push_str(if args.short { "" } else { title });
            out.push_str(&crate::output::text::clean(&version));
            out.push('\n');
        }
    }
    terminal::data(out.as_bytes())
}

async fn server(globals: &Globals) -> String {
    let version = async { client::connect(globals).await?.version().await };
    match version.await {
        Ok(Some(version)) => version,
        Ok(None) => "unknown".to_owned(),
        Err(error) => {
            terminal::say(&format!("No version of the API: {error}."));
            "unavailable".to_owned()
        }
    }
}
