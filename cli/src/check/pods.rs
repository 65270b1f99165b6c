//! Our Deployments, their pods and their proxies.

use super::{
    Check, Verdict, known,
    seen::{DeploymentSeen, PodSeen, Seen},
    unless,
};

/// Pods and proxies.
pub(super) const CHECKS: &[Check] = &[
    Check::new("linkerd-mcp Deployments exist", "mcp-deployments-exist", deployments),
    Check::new("linkerd-mcp pods are injected", "mcp-pods-injection", injected),
    Check::new("linkerd-mcp pods are running", "mcp-pods-running", running).retried(),
    Check::new("linkerd-mcp proxies are healthy", "mcp-proxy-healthy", healthy).retried(),
    Check::new("linkerd-mcp proxies are up-to-date", "mcp-proxy-cp-version", up_to_date),
];

fn deployments(seen: &Seen) -> Verdict {
    let deployments = match known(&seen.deployments) {
        Ok(deployments) => deployments,
        Err(verdict) => return verdict,
    };
    let mut expected = vec!["mcp-controller", "mcp-api"];
    let ours = |url: &str| url.contains("//mcp-redis.");
    if deployments.values().any(|it| it.redis_url.as_deref().is_some_and(ours)) {
        expected.push("mcp-redis");
    }
    let missing: Vec<String> =
        expected.into_iter().filter(|name| !deployments.contains_key(*name)).map(str::to_owned).collect();
    unless(&missing, |missing| format!("missing Deployments: {missing}"))
}

fn injected(seen: &Seen) -> Verdict {
    about(
        seen,
        |pod| pod.proxy.is_none().then(|| pod.name.clone()),
        |pods| format!("pods without a linkerd-proxy: {pods}"),
    )
}

fn running(seen: &Seen) -> Verdict {
    let pods = match known(&seen.pods) {
        Ok(pods) => pods,
        Err(verdict) => return verdict,
    };
    let mut complaints: Vec<String> = pods.iter().filter_map(trouble).collect();
    // A pod that is named is why its Deployment lacks one.
    if complaints.is_empty() {
        let deployments = seen.deployments.iter().flatten();
        let short = deployments.filter(|(_, deployment)| deployment.available < deployment.wanted);
        complaints.extend(short.map(|(name, deployment)| {
            let DeploymentSeen { available, wanted, .. } = deployment;
            format!("Deployment {name} has {available} of {wanted} replicas available")
        }));
    }
    if pods.is_empty() {
        complaints.push("there are no pods with the label linkerd.io/extension=mcp".to_owned());
    }
    unless(&complaints, |complaints| complaints)
}

/// Why a pod does not do its work.
fn trouble(pod: &PodSeen) -> Option<String> {
    let mut trouble = match (pod.phase.as_str(), pod.unready.as_slice()) {
        ("Running", []) => return None,
        ("Running", unready) => format!("{} is not ready: {}", pod.name, unready.join(", ")),
        (phase, []) => format!("{} is {phase}", pod.name),
        (phase, unready) => format!("{} is {phase}: {}", pod.name, unready.join(", ")),
    };
    if let Some(says) = &pod.says {
        trouble.push_str(&format!("; it says: {says}"));
    }
    Some(trouble)
}

fn healthy(seen: &Seen) -> Verdict {
    about(seen, unhealthy, |pods| format!("proxies that are not ready: {pods}"))
}

/// The name of a pod whose proxy is not ready.
pub(super) fn unhealthy(pod: &PodSeen) -> Option<String> {
    pod.proxy.as_ref().filter(|proxy| !proxy.ready).map(|_| pod.name.clone())
}

fn up_to_date(seen: &Seen) -> Verdict {
    let Some(version) = seen.linkerd_version() else { return Verdict::Skip };
    about(
        seen,
        |pod| outdated(pod, version),
        |pods| format!("Linkerd is {version}, and these proxies are not: {pods}; restart the pods"),
    )
    .mild()
}

/// The name of a pod whose proxy is of another version, with that.
pub(super) fn outdated(pod: &PodSeen, version: &str) -> Option<String> {
    let proxy = pod.proxy.as_ref()?.version.as_deref()?;
    (proxy != version).then(|| format!("{} ({proxy})", pod.name))
}

fn about(
    seen: &Seen,
    complaint: impl Fn(&PodSeen) -> Option<String>,
    say: impl FnOnce(String) -> String,
) -> Verdict {
    // What could not be looked at, and that there are none, is said once: by the check that they run.
    let Some(pods) = seen.pods.as_ref().ok().filter(|pods| !pods.is_empty()) else { return Verdict::Skip };
    unless(&pods.iter().filter_map(complaint).collect::<Vec<_>>(), say)
}
