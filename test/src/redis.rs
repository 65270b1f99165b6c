//! A Redis server that keeps everything in memory.
//!
//! To restart it under its clients, let them connect through [`crate::proxy`] and point that at the new one.

use std::net::SocketAddr;
use std::path::Path;

use redis::{Client, RedisError};

use crate::process::{self, Launch, Process};

/// A running Redis.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    password: Option<String>,
}

// === impl Redis ===

impl Redis {
    /// Starts it on a free port; with a password, clients must give it.
    pub async fn start(password: Option<&str>) -> Result<Self, process::Error> {
        let launch = Launch {
            program: "redis-server",
            ports: 1,
            args: |dir: &Path, ports: &[u16]| Ok(arguments(dir, ports[0], password)),
        };
        let process =
            process::start(launch, async |process| answers(&url(process, password)).await.is_ok()).await?;
        Ok(Self { process, password: password.map(String::from) })
    }

    /// Its address, with the password in it.
    pub fn url(&self) -> String {
        url(&self.process, self.password.as_deref())
    }

    /// Where it listens, for a proxy in front of it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.process.port(0)))
    }

    /// A client; it connects when it is asked to.
    pub fn client(&self) -> Result<Client, RedisError> {
        Client::open(self.url())
    }

    /// The process, to freeze or stop it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as a clean shutdown does.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

fn arguments(dir: &Path, port: u16, password: Option<&str>) -> Vec<String> {
    let (port, dir) = (port.to_string(), dir.display().to_string());
    let args = ["--bind", "127.0.0.1", "--port", &port, "--dir", &dir, "--save", "", "--appendonly", "no"];
    let password = password.into_iter().flat_map(|password| ["--requirepass", password]);
    args.into_iter().chain(password).map(String::from).collect()
}

fn url(process: &Process, password: Option<&str>) -> String {
    let login = password.map(|password| format!(":{password}@")).unwrap_or_default();
    format!("redis://{login}127.0.0.1:{}", process.port(0))
}

async fn answers(url: &str) -> Result<(), RedisError> {
    let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("PING").exec_async(&mut connection).await
}
