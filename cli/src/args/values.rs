//! Values of the chart, by the flags that Helm and `linkerd viz install` have for them.

use clap::Args;
use std::path::PathBuf;

/// Where values come from. Later ones win, and any flag wins over any file.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Values")]
pub(crate) struct ValueArgs {
    /// Values for high availability: three replicas, each on a node of its own
    #[arg(long)]
    pub(crate) ha: bool,

    /// Values from this file, or - for stdin; may be repeated
    #[arg(long, short = 'f', value_name = "FILE", value_delimiter = ',')]
    pub(crate) values: Vec<PathBuf>,

    /// Set values, as in a.b=1,c={x,y}; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,

    /// Set values that stay text, as in a.b=1; may be repeated
    #[arg(long, value_name = "NAME=TEXT")]
    pub(crate) set_string: Vec<String>,

    /// Set values from files, as in a.b=path; may be repeated
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) set_file: Vec<String>,
}
