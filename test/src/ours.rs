//! The programs of this project as processes: controller, API and CLI, as they were built with the tests.

use crate::{
    process::{self, Launch, Process},
    wait,
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};

/// A program of this project is not where cargo puts it.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not built: `cargo test --workspace` builds it, `cargo test -p linkerd-mcp-test` alone does not", .0.display())]
pub struct NotBuilt(PathBuf);

/// A running controller.
#[derive(Debug)]
pub struct Controller {
    process: Process,
}

/// A running API.
#[derive(Debug)]
pub struct Api {
    process: Process,
}

/// What a controller is told.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// Text of its kubeconfig.
    pub kubeconfig: String,
    /// Redis.
    pub redis_url: String,
    /// Prometheus.
    pub prometheus_url: String,
    /// Further arguments.
    pub more: Vec<String>,
}

/// Where cargo put a program of this project.
///
/// # Errors
///
/// When it is not there.
pub fn program(name: &str) -> Result<PathBuf, NotBuilt> {
    let test = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/<test> -> target/debug/<program>
    let path = test.ancestors().nth(2).unwrap_or(Path::new("")).join(name);
    if path.is_file() { Ok(path) } else { Err(NotBuilt(path)) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn not_built(error: NotBuilt) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::NotFound, error)
}

/// True once the program answers `path` on its admin port with status 200.
async fn answers(port: u16, path: &str) -> bool {
    let response = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await;
    response.is_ok_and(|response| response.status().is_success())
}

// === impl Controller ===

impl Controller {
    /// Starts it and waits until the first lists are in.
    ///
    /// # Errors
    ///
    /// When it does not get there.
    pub async fn start(options: &ControllerOptions) -> Result<Self, process::Error> {
        Self::start_in(options, &[]).await
    }

    /// As [`Self::start`], with variables (`NAME=value`) in its environment. Without a `redis_url` none is given.
    ///
    /// # Errors
    ///
    /// When it does not get there.
    pub async fn start_in(
        options: &ControllerOptions,
        environment: &[String],
    ) -> Result<Self, process::Error> {
        let launch = Launch {
            program: "env",
            ports: 1,
            args: |dir: &Path, ports: &[u16]| {
                let kubeconfig = dir.join("kubeconfig");
                std::fs::write(&kubeconfig, &options.kubeconfig)?;
                let mut args = environment.to_vec();
                args.extend([
                    format!("KUBECONFIG={}", text(&kubeconfig)),
                    text(&program("linkerd-mcp-controller").map_err(not_built)?),
                    format!("--prometheus-url={}", options.prometheus_url),
                    format!("--admin-listen=127.0.0.1:{}", ports[0]),
                    "--poll=1s".to_owned(),
                ]);
                if !options.redis_url.is_empty() {
                    args.push(format!("--redis-url={}", options.redis_url));
                }
                args.extend(options.more.iter().cloned());
                Ok(args)
            },
        };
        let process =
            process::start(launch, async |process| answers(process.port(0), "/ready").await).await?;
        Ok(Self { process })
    }

    /// The process, to freeze or stop it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as Kubernetes does, and gives how it ended if it did in time.
    pub async fn stop(self) -> Option<ExitStatus> {
        self.process.stop().await
    }

    /// Ends it at once, as `kill -9` or a lost node does.
    pub fn kill(self) {
        self.process.kill();
    }

    /// Its metrics, as Prometheus would scrape them.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String, reqwest::Error> {
        reqwest::get(format!("http://127.0.0.1:{}/metrics", self.process.port(0))).await?.text().await
    }
}

// === impl Api ===

impl Api {
    /// Starts it and waits until it has a graph.
    ///
    /// # Errors
    ///
    /// When it does not get there.
    pub async fn start(redis_url: &str) -> Result<Self, process::Error> {
        Self::start_until(redis_url, "/ready").await
    }

    /// Starts it and waits until it answers at all, with a graph or without.
    ///
    /// # Errors
    ///
    /// When it does not get there.
    pub async fn alive(redis_url: &str) -> Result<Self, process::Error> {
        Self::start_until(redis_url, "/livez").await
    }

    /// True when it has a graph.
    pub async fn ready(&self) -> bool {
        answers(self.process.port(1), "/ready").await
    }

    /// The process, to freeze or stop it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as Kubernetes does, and gives how it ended if it did in time.
    pub async fn stop(self) -> Option<ExitStatus> {
        self.process.stop().await
    }

    /// Starts it with these arguments and variables (`NAME=value`), and waits until it answers at all.
    ///
    /// # Errors
    ///
    /// When it does not get there.
    pub async fn alive_with(arguments: &[String], environment: &[String]) -> Result<Self, process::Error> {
        Self::launch(arguments, environment, "/livez").await
    }

    /// Its metrics, as Prometheus would scrape them.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<String, reqwest::Error> {
        reqwest::get(format!("http://127.0.0.1:{}/metrics", self.process.port(1))).await?.text().await
    }

    async fn start_until(redis_url: &str, path: &str) -> Result<Self, process::Error> {
        Self::launch(&[format!("--redis-url={redis_url}")], &[], path).await
    }

    async fn launch(
        arguments: &[String],
        environment: &[String],
        path: &str,
    ) -> Result<Self, process::Error> {
        let launch = Launch {
            program: "env",
            ports: 2,
            args: |_: &Path, ports: &[u16]| {
                let mut args = environment.to_vec();
                args.extend([
                    text(&program("linkerd-mcp-api").map_err(not_built)?),
                    "--local-auth=machine".to_owned(),
                    format!("--listen=127.0.0.1:{}", ports[0]),
                    format!("--admin-listen=127.0.0.1:{}", ports[1]),
                ]);
                args.extend_from_slice(arguments);
                Ok(args)
            },
        };
        let process = process::start(launch, async |process| answers(process.port(1), path).await).await?;
        Ok(Self { process })
    }

    /// Where gRPC and JSON are served.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.process.port(0)))
    }

    /// The graph as JSON.
    ///
    /// # Errors
    ///
    /// When it does not answer with JSON.
    pub async fn graph(&self, query: &str) -> Result<serde_json::Value, reqwest::Error> {
        let text = reqwest::get(format!("http://{}/v1/graph{query}", self.address())).await?.text().await?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Waits until the graph is as `found` wants it, and gives what it made of it.
    ///
    /// # Errors
    ///
    /// When it never is.
    pub async fn until<T>(
        &self,
        what: &str,
        found: impl Fn(&serde_json::Value) -> Option<T>,
    ) -> Result<T, wait::Timeout> {
        wait::until(what, Duration::from_secs(60), async || found(&self.graph("").await.ok()?)).await
    }
}

/// `linkerd-mcp serve`: controller and API in one process.
#[derive(Debug)]
pub struct Serve {
    process: Process,
}

impl Serve {
    /// Starts it and waits until it has a graph.
    ///
    /// # Errors
    ///
    /// When it does not get there.
    pub async fn start(kubeconfig: &str, prometheus_url: &str) -> Result<Self, process::Error> {
        let launch = Launch {
            program: "env",
            ports: 2,
            args: |dir: &Path, ports: &[u16]| {
                let path = dir.join("kubeconfig");
                std::fs::write(&path, kubeconfig)?;
                Ok(vec![
                    text(&program("linkerd-mcp").map_err(not_built)?),
                    "serve".to_owned(),
                    format!("--kubeconfig={}", text(&path)),
                    format!("--prometheus-url={prometheus_url}"),
                    format!("--listen=127.0.0.1:{}", ports[0]),
                    format!("--admin-listen=127.0.0.1:{}", ports[1]),
                    "--window=10s".to_owned(),
                    "--poll=1s".to_owned(),
                ])
            },
        };
        let process =
            process::start(launch, async |process| answers(process.port(1), "/ready").await).await?;
        Ok(Self { process })
    }

    /// Where gRPC and JSON are served.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.process.port(0)))
    }

    /// Ends it as Kubernetes or Ctrl-C would.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// Runs the CLI to its end.
///
/// # Errors
///
/// When it is not built or cannot be started.
pub async fn cli(args: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new(program("linkerd-mcp").map_err(not_built)?);
    command.args(args).env_remove("KUBECONFIG");
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.map_err(std::io::Error::other)?
}
