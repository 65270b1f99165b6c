//! The rate window: as asked for where Prometheus scrapes often enough, else wider.

use super::Prometheus;
use crate::graph::promql::answer;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::Instant;

/// How often the scrape interval is looked at again: somebody may change it.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// The window in use.
#[derive(Debug)]
pub(super) struct Window {
    wanted_s: u32,
    interval_s: Option<f64>,
    looked: Option<Instant>,
}

impl Window {
    pub(super) fn new(wanted_s: u32) -> Self {
        Self { wanted_s, interval_s: None, looked: None }
    }

    pub(super) fn due(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN)
    }

    /// Takes in the scrape interval; None keeps what was known and asks again at the next poll.
    pub(super) fn learn(&mut self, interval_s: Option<f64>) {
        if interval_s.is_some() {
            self.interval_s = interval_s;
            self.looked = Some(Instant::now());
        }
    }

    /// The window in seconds, and why it is wider than asked for.
    pub(super) fn seconds(&self) -> (u32, String) {
        widened(self.wanted_s, self.interval_s)
    }
}

/// A rate needs two samples in its window whatever the phase, so three intervals are the least; a window that has to
/// be widened gets four, to be steady.
fn widened(wanted_s: u32, interval_s: Option<f64>) -> (u32, String) {
    match interval_s {
        Some(interval) if interval * 3.0 > f64::from(wanted_s) => {
            let window = (interval * 4.0).ceil().clamp(1.0, 3600.0) as u32;
            (
                window,
                format!("Prometheus scrapes every {interval} s, so {wanted_s} s would hold too few samples"),
            )
        }
        _ => (wanted_s, String::new()),
    }
}

/// The interval at which the proxies are scraped, in seconds: from Prometheus' configuration, else from how many
/// samples a proxy has in five minutes (managed Prometheuses do not show their configuration).
pub(super) async fn scrape_interval(prometheus: &Prometheus) -> Option<f64> {
    if let Ok(body) = prometheus.get("status/config").await
        && let Some(interval) = configured(&body.text)
    {
        return Some(interval);
    }
    let matchers: Vec<String> =
        prometheus.options.endpoint.matchers.iter().map(ToString::to_string).collect();
    let query = format!("max(count_over_time(proxy_build_info{{{}}}[5m]))", matchers.join(","));
    let body = prometheus.post("query", &[("query", Some(query.as_str()))]).await.ok()?;
    let samples = answer::parse(&body.text, 1).ok()?.rows.first()?.value;
    (samples >= 1.0).then(|| (300.0 / samples).round().max(1.0))
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    yaml: String,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    global: Global,
    #[serde(default)]
    scrape_configs: Vec<Job>,
}

#[derive(Default, Deserialize)]
struct Global {
    scrape_interval: Option<String>,
}

#[derive(Deserialize)]
struct Job {
    job_name: String,
    scrape_interval: Option<String>,
}

/// The interval of the job that scrapes the proxies, else the global one.
pub(crate) fn configured(answer: &str) -> Option<f64> {
    let answer: Answer = serde_json::from_str(answer).ok()?;
    let config: Config = serde_yaml::from_str(&answer.data.yaml).ok()?;
    let job =
        config.scrape_configs.iter().find(|job| job.job_name.rsplit('/').next() == Some("linkerd-proxy"));
    seconds(job.and_then(|job| job.scrape_interval.as_deref()).or(config.global.scrape_interval.as_deref())?)
}

/// A duration of Prometheus, as in `1m30s`, in seconds.
fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        total += number
            * match &rest[digits..unit_end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (total > 0.0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_as_asked_when_it_holds_three_scrapes_and_wider_otherwise() {
        assert_eq!(widened(30, Some(10.0)), (30, String::new()));
        assert_eq!(widened(30, None), (30, String::new()));
        assert_eq!(widened(30, Some(15.0)).0, 60);
        assert_eq!(
            widened(30, Some(60.0)),
            (240, "Prometheus scrapes every 60 s, so 30 s would hold too few samples".to_owned())
        );
    }

    #[test]
    fn the_proxies_own_job_decides_the_interval_also_under_an_operators_name() {
        let config =
            |yaml: &str| serde_json::json!({"status": "success", "data": {"yaml": yaml}}).to_string();
        let global = "global:\n  scrape_interval: 1m\n";
        assert_eq!(configured(&config(global)), Some(60.0));
        let viz = format!(
            "{global}scrape_configs:\n- job_name: prometheus\n- job_name: linkerd-proxy\n  scrape_interval: 10s\n"
        );
        assert_eq!(configured(&config(&viz)), Some(10.0));
        let operator =
            format!("{global}scrape_configs:\n- job_name: linkerd/linkerd-proxy\n  scrape_interval: 1m30s\n");
        assert_eq!(configured(&config(&operator)), Some(90.0));
        assert_eq!(configured("<html>"), None);
    }
}
