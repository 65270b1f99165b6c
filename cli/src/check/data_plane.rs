//! The proxies of the mesh, as far as the numbers depend on them.

use super::{Check, Verdict, known, mesh, pods, seen::Seen, unless};

/// With `--proxy`.
pub(super) const CHECKS: &[Check] = &[
    Check::new("data plane namespace exists", "mcp-data-plane-ns-exists", exists).fatal(),
    Check::new("data plane proxies are healthy", "mcp-data-plane-proxy-healthy", healthy).retried(),
    Check::new("data plane proxies are up-to-date", "mcp-data-plane-cp-version", up_to_date),
    Check::new("data plane proxy metrics are present in Prometheus", "mcp-data-plane-prom", scraped),
];

fn exists(seen: &Seen) -> Verdict {
    match known(&seen.data_plane_namespace) {
        Ok((_, true)) => Verdict::Fine,
        Ok((namespace, false)) => Verdict::Error(format!("there is no Namespace {namespace}")),
        Err(verdict) => verdict,
    }
}

fn healthy(seen: &Seen) -> Verdict {
    match known(&seen.data_plane) {
        Ok(all) if all.is_empty() => Verdict::Warning("there are no pods with a linkerd-proxy".to_owned()),
        Ok(all) => unless(&all.iter().filter_map(pods::unhealthy).collect::<Vec<_>>(), |pods| {
            format!("proxies that are not ready: {pods}")
        }),
        Err(verdict) => verdict,
    }
}

fn up_to_date(seen: &Seen) -> Verdict {
    let (Ok(all), Some(version)) = (&seen.data_plane, seen.linkerd_version()) else { return Verdict::Skip };
    if all.is_empty() {
        // Said by the check that they are healthy.
        return Verdict::Skip;
    }
    let outdated: Vec<String> = all.iter().filter_map(|pod| pods::outdated(pod, version)).collect();
    unless(&outdated, |pods| format!("Linkerd is {version}, and these proxies are not: {pods}")).mild()
}

fn scraped(seen: &Seen) -> Verdict {
    let Some(metrics) = mesh::measured(seen) else { return Verdict::Skip };
    let Ok((namespace, _)) = &seen.data_plane_namespace else {
        return match metrics.unscraped_count {
            0 => Verdict::Fine,
            count => Verdict::Warning(format!(
                "Prometheus has no series of {}",
                mesh::among(&metrics.unscraped, count)
            )),
        };
    };
    let here: Vec<String> = metrics
        .unscraped
        .iter()
        .filter(|pod| pod.split_once('/').is_some_and(|(place, _)| place == namespace))
        .cloned()
        .collect();
    // Only so many are named: of the others nobody knows where they are.
    if here.is_empty() && metrics.unscraped_count as usize > metrics.unscraped.len() {
        return Verdict::Warning(format!(
            "Prometheus has no series of {} pods; whether some are in {namespace} is not known",
            metrics.unscraped_count
        ));
    }
    unless(&here, |pods| format!("Prometheus has no series of {pods}")).mild()
}
