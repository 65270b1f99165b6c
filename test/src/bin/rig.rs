//! `linkerd-mcp-rig`: a whole mesh on a laptop, made of real components and recorded traffic, until Ctrl-C.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use linkerd_mcp_test::prometheus::Options;
use linkerd_mcp_test::rig::Rig;
use tokio::signal::unix::{SignalKind, signal};

/// Starts an API server with the recorded mesh in it, Redis, and Prometheus with the recorded traffic.
#[derive(Parser)]
struct Args {
    /// Seconds between two scrapes.
    #[arg(long, default_value_t = 5)]
    scrape_interval: u64,
    /// Where to write the kubeconfig of the administrator.
    #[arg(long, default_value = "target/rig.kubeconfig")]
    kubeconfig: PathBuf,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "its output is the addresses")]
async fn main() -> anyhow::Result<()> {
    let Args { scrape_interval, kubeconfig } = Args::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let options = Options { scrape_interval: Duration::from_secs(scrape_interval), ..Options::default() };
    let rig = Rig::start(options).await?;
    write_private(&kubeconfig, &rig.kubernetes.apiserver.kubeconfig())
        .with_context(|| format!("could not write {}", kubeconfig.display()))?;
    println!("export KUBECONFIG={}", std::path::absolute(&kubeconfig)?.display());
    println!("export LINKERD_MCP_REDIS_URL={}", rig.redis.url());
    println!("export LINKERD_MCP_PROMETHEUS_URL={}", rig.traffic.prometheus.url());
    println!("# Kubernetes API at {}; Ctrl-C ends everything", rig.kubernetes.apiserver.url());
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    drop(rig);
    std::fs::remove_file(&kubeconfig).with_context(|| format!("could not remove {}", kubeconfig.display()))
}

/// Writes a file that only its owner may read: it holds the administrator's token.
fn write_private(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let mut file =
        std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
