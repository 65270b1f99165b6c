//! Prometheus, told by a file whom to scrape.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::process::{self, Launch, Process};

/// Why Prometheus could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The list of targets could not be written.
    #[error("could not write the list of targets")]
    Targets(#[source] std::io::Error),
    /// The query was not answered with success.
    #[error("Prometheus did not answer the query")]
    Query(#[from] reqwest::Error),
    /// The answer is not what the HTTP API promises.
    #[error("Prometheus gave an answer that is not a vector")]
    Answer(#[from] serde_json::Error),
}

/// Somebody to scrape, and the labels a scraper of Linkerd proxies would give all its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where `/metrics` is served.
    pub address: SocketAddr,
    /// Labels added to every series; `instance` and `job` too, if given.
    pub labels: BTreeMap<String, String>,
}

/// How Prometheus is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The distance between two scrapes, in whole seconds.
    pub scrape_interval: Duration,
    /// Whether the HTTP API wants [`USER`] and [`PASSWORD`].
    pub basic_auth: bool,
}

/// One row of an instant query.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The labels of the series.
    pub labels: BTreeMap<String, String>,
    /// Its value now.
    pub value: f64,
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    options: Options,
}

/// The user with [`Options::basic_auth`].
pub const USER: &str = "prometheus";
/// The password with [`Options::basic_auth`].
pub const PASSWORD: &str = "secret";
/// bcrypt of [`PASSWORD`], at the lowest cost there is.
const PASSWORD_HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

const TARGETS: &str = "targets.json";

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<RawRow>,
}

#[derive(Deserialize)]
struct RawRow {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

// === impl Options ===

impl Default for Options {
    /// Scrapes every second, so that a test need not wait, and lets everybody in.
    fn default() -> Self {
        Self { scrape_interval: Duration::from_secs(1), basic_auth: false }
    }
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts it on a free port.
    pub async fn start(options: Options, targets: &[Target]) -> Result<Self, Error> {
        let launch = Launch {
            program: "prometheus",
            ports: 1,
            args: |dir: &Path, ports: &[u16]| {
                std::fs::write(dir.join("prometheus.yaml"), config(&options))?;
                std::fs::write(dir.join("web.yaml"), web_config(&options))?;
                write_targets(dir, targets)?;
                Ok(arguments(dir, ports[0]))
            },
        };
        let process = process::start(launch, async |process| {
            let ready = get(process, &options, "/-/ready").send().await;
            ready.is_ok_and(|response| response.status().is_success())
        })
        .await?;
        Ok(Self { process, options })
    }

    /// Its address, without credentials.
    pub fn url(&self) -> String {
        url(&self.process)
    }

    /// Replaces the list of targets; Prometheus notices at once.
    pub fn set_targets(&self, targets: &[Target]) -> Result<(), Error> {
        write_targets(self.process.dir(), targets).map_err(Error::Targets)
    }

    /// Runs an instant query.
    pub async fn query(&self, promql: &str) -> Result<Vec<Row>, Error> {
        let request = get(&self.process, &self.options, "/api/v1/query").query(&[("query", promql)]);
        let text = request.send().await?.error_for_status()?.text().await?;
        let answer: Answer = serde_json::from_str(&text)?;
        Ok(answer.data.result.into_iter().map(Row::from).collect())
    }

    /// The process, to freeze or stop it.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl From<RawRow> for Row {
    fn from(raw: RawRow) -> Self {
        // The API writes numbers as text, because JSON has neither NaN nor infinity.
        Self { labels: raw.metric, value: raw.value.1.parse().unwrap_or(f64::NAN) }
    }
}

fn url(process: &Process) -> String {
    format!("http://127.0.0.1:{}", process.port(0))
}

fn get(process: &Process, options: &Options, path: &str) -> reqwest::RequestBuilder {
    let request = reqwest::Client::new().get(format!("{}{path}", url(process)));
    if options.basic_auth { request.basic_auth(USER, Some(PASSWORD)) } else { request }
}

fn arguments(dir: &Path, port: u16) -> Vec<String> {
    let file = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--config.file={}", file("prometheus.yaml")),
        format!("--web.config.file={}", file("web.yaml")),
        format!("--storage.tsdb.path={}", file("data")),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-lifecycle".to_string(),
        "--log.level=warn".to_string(),
    ]
}

fn config(options: &Options) -> String {
    let interval = options.scrape_interval.as_secs().max(1);
    format!(
        "\
global:
  scrape_interval: {interval}s
  scrape_timeout: {interval}s
scrape_configs:
- job_name: linkerd-proxy
  file_sd_configs:
  - files: [{TARGETS}]
    refresh_interval: 1s
"
    )
}

fn web_config(options: &Options) -> String {
    if !options.basic_auth {
        return String::new();
    }
    format!("basic_auth_users:\n  {USER}: {PASSWORD_HASH}\n")
}

fn write_targets(dir: &Path, targets: &[Target]) -> std::io::Result<()> {
    let list: Vec<_> = targets
        .iter()
        .map(|target| json!({ "targets": [target.address.to_string()], "labels": target.labels }))
        .collect();
    // Renamed into place: Prometheus would report a half-written file.
    let new = dir.join("targets.new");
    std::fs::write(&new, serde_json::to_vec_pretty(&list)?)?;
    std::fs::rename(new, dir.join(TARGETS))
}
