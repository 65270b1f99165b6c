//! Manifests in place of a mesh.

use super::cluster::ClusterArgs;
use clap::Args;
use std::path::PathBuf;

/// Which manifests to ask, and what they leave open. None: a mesh is asked.
#[derive(Debug, Default, Args)]
pub(crate) struct ManifestArgs {
    /// Ask these manifests and no mesh: file or directory, YAML or JSON, or - for stdin; may be repeated
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

// === impl ManifestArgs ===

impl ManifestArgs {
    /// True when manifests are asked.
    pub(crate) fn given(&self) -> bool {
        !self.filename.is_empty()
    }
}
