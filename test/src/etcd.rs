//! etcd, the API server's storage.

use crate::process::{self, Launch, Process};

/// A running etcd with one member and no fsync.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
}

impl Etcd {
    /// Starts it on free ports.
    pub async fn start() -> Result<Self, process::Error> {
        let launch = Launch {
            program: "etcd",
            ports: 2,
            args: |dir: &std::path::Path, ports: &[u16]| {
                let client = format!("http://127.0.0.1:{}", ports[0]);
                let peer = format!("http://127.0.0.1:{}", ports[1]);
                Ok(vec![
                    format!("--data-dir={}", dir.join("data").display()),
                    format!("--listen-client-urls={client}"),
                    format!("--advertise-client-urls={client}"),
                    format!("--listen-peer-urls={peer}"),
                    format!("--initial-advertise-peer-urls={peer}"),
                    format!("--initial-cluster=default={peer}"),
                    "--unsafe-no-fsync".to_string(),
                    "--log-level=warn".to_string(),
                ])
            },
        };
        let process = process::start(launch, async |process| {
            let health = reqwest::get(format!("http://127.0.0.1:{}/health", process.port(0))).await;
            health.is_ok_and(|response| response.status().is_success())
        })
        .await?;
        Ok(Self { process })
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.process.port(0))
    }

    /// The process, to freeze or stop it.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
