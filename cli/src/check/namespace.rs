//! The cluster, and our namespace in it.

use super::{Check, Verdict, known, named, seen::Seen};

/// The oldest minor version of Kubernetes 1 that the chart installs on.
const OLDEST_MINOR: u32 = 31;

/// Without these nothing can be looked at.
pub(super) const REACH: &[Check] = &[
    Check::new("can query the Kubernetes API", "mcp-kubernetes-api", reachable).fatal(),
    Check::new("Kubernetes version is supported", "mcp-kubernetes-version", version),
];

/// Our namespace.
pub(super) const CHECKS: &[Check] = &[
    Check::new("linkerd-mcp Namespace exists", "mcp-ns-exists", exists).fatal(),
    Check::new("linkerd-mcp is installed in one Namespace", "mcp-ns-unique", unique),
];

fn reachable(seen: &Seen) -> Verdict {
    match known(&seen.kubernetes) {
        Ok(_) => Verdict::Fine,
        // Who may not even ask for the version cannot be told anything.
        Err(Verdict::Warning(why)) => Verdict::Error(why),
        Err(verdict) => verdict,
    }
}

fn version(seen: &Seen) -> Verdict {
    let Ok(version) = &seen.kubernetes else { return Verdict::Skip };
    match minor(version) {
        Some(minor) if minor >= OLDEST_MINOR => Verdict::Fine,
        Some(_) => Verdict::Warning(format!("Kubernetes is {version}; v1.{OLDEST_MINOR} or newer is needed")),
        None => Verdict::Warning(format!("the version of Kubernetes is not understood: {version}")),
    }
}

fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("v1.")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn exists(seen: &Seen) -> Verdict {
    let labelled = match known(&seen.namespaces) {
        Ok(labelled) => labelled,
        Err(verdict) => return verdict,
    };
    match &seen.namespace {
        Some(namespace) if labelled.contains(namespace) => Verdict::Fine,
        Some(namespace) => Verdict::Error(format!(
            "there is no Namespace {namespace} with the label linkerd.io/extension=mcp{}",
            match labelled.is_empty() {
                true => String::new(),
                false => format!("; that label is on {}", named(labelled)),
            }
        )),
        None => Verdict::Error(
            "no Namespace has the label linkerd.io/extension=mcp: linkerd-mcp is not installed, or its Namespace is not \
             labelled"
                .to_owned(),
        ),
    }
}

fn unique(seen: &Seen) -> Verdict {
    match &seen.namespaces {
        Ok(labelled) if labelled.len() > 1 => Verdict::Warning(format!(
            "several Namespaces have the label linkerd.io/extension=mcp: {}; name one with --mcp-namespace",
            named(labelled)
        )),
        Ok(_) => Verdict::Fine,
        Err(_) => Verdict::Skip,
    }
}
