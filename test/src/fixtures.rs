//! The recorded proxies of `test/fixtures/linkerd-proxy`; its README says how they were made.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::exposition::{self, Recording};

/// A fixture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing or damaged.
    #[error("could not read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The file is not the JSON we expect.
    #[error("{path} has an unexpected shape")]
    Json {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The file is not in the Prometheus text format.
    #[error("the recording of {pod} is damaged")]
    Exposition {
        /// Whose recording.
        pod: String,
        /// What went wrong.
        #[source]
        source: exposition::Error,
    },
}

/// A proxy that was recorded.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The short name that the files go by, such as `web` or `emoji-a`.
    pub name: String,
    /// Where the proxy was scraped, such as `10.244.2.11:4191`.
    pub instance: String,
    /// The labels a viz-like scraper adds.
    pub labels: BTreeMap<String, String>,
    /// What it exposes.
    pub recording: Recording,
}

/// What the applications counted between the two captures.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    /// As seen by the client: edge, counter, and the bounds of its increase.
    pub edges: BTreeMap<String, BTreeMap<String, [u64; 2]>>,
    /// As seen by the server.
    pub servers: BTreeMap<String, BTreeMap<String, [u64; 2]>>,
    /// The exact distance between the captures of each pod.
    pub interval_seconds: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Target {
    target: String,
    labels: BTreeMap<String, String>,
}

/// The folder of the fixtures.
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The YAML files of a folder, by name.
pub fn yaml_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    let mut files = paths.collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

/// All recorded proxies, by name.
pub fn pods() -> Result<Vec<Pod>, Error> {
    let truth = truth()?;
    let targets: BTreeMap<String, Target> = json("targets.json")?;
    targets.into_iter().map(|(name, target)| pod(name, target, &truth)).collect()
}

/// The true numbers.
pub fn truth() -> Result<Truth, Error> {
    json("truth.json")
}

/// One of the two captures of a proxy (`which` is 1 or 2), as text.
pub fn capture(pod: &str, which: u8) -> Result<String, Error> {
    let path = proxy_dir().join(format!("{pod}-{which}.prom.gz"));
    let mut text = String::new();
    let unpack = |file| flate2::read::GzDecoder::new(file).read_to_string(&mut text);
    std::fs::File::open(&path).and_then(unpack).map_err(|source| Error::Read { path, source })?;
    Ok(text)
}

fn pod(name: String, target: Target, truth: &Truth) -> Result<Pod, Error> {
    let seconds = truth.interval_seconds.get(&name).copied().unwrap_or(20.0);
    let recording =
        Recording::new(&capture(&name, 1)?, &capture(&name, 2)?, Duration::from_secs_f64(seconds))
            .map_err(|source| Error::Exposition { pod: name.clone(), source })?;
    Ok(Pod { name, instance: target.target, labels: target.labels, recording })
}

fn proxy_dir() -> PathBuf {
    dir().join("linkerd-proxy")
}

fn json<T: serde::de::DeserializeOwned>(file: &str) -> Result<T, Error> {
    let path = proxy_dir().join(file);
    let text = std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_proxy_loads_and_moves() {
        let pods = pods().unwrap();
        let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        let expected = [
            "db",
            "emoji-a",
            "emoji-b",
            "intruder",
            "linkerd-destination",
            "linkerd-identity",
            "prometheus",
            "vote-bot",
            "voting",
            "web",
        ];
        assert_eq!(names, expected);
        for pod in &pods {
            let recording = &pod.recording;
            assert_ne!(
                recording.after(Duration::ZERO),
                recording.after(Duration::from_secs(1)),
                "{}",
                pod.name
            );
        }
    }

    #[test]
    fn a_recording_starts_as_the_second_capture() {
        let lines = |text: &str| text.lines().count();
        for pod in pods().unwrap() {
            assert_eq!(lines(&pod.recording.after(Duration::ZERO)), lines(&capture(&pod.name, 2).unwrap()));
        }
    }
}
