//! Whether linkerd-mcp can be installed.

use super::{Check, Verdict, known, named, seen::Seen, unless};

/// With `--pre`.
pub(super) const CHECKS: &[Check] = &[
    Check::new("linkerd-mcp is not installed yet", "pre-mcp-not-installed", not_installed),
    Check::new("can create what an installation needs", "pre-mcp-can-install", can_install),
    Check::new("the cluster has what an installation needs", "pre-mcp-cluster-fits", fits),
    Check::new("linkerd-viz Prometheus is installed", "pre-mcp-prometheus", prometheus),
];

fn not_installed(seen: &Seen) -> Verdict {
    match known(&seen.namespaces) {
        Ok(labelled) if labelled.is_empty() => Verdict::Fine,
        Ok(labelled) => Verdict::Warning(format!(
            "it is installed in Namespace {}; installing it there again is an upgrade",
            named(labelled)
        )),
        Err(verdict) => verdict,
    }
}

fn can_install(seen: &Seen) -> Verdict {
    match known(&seen.missing_to_install) {
        Ok(missing) if missing.is_empty() => Verdict::Fine,
        Ok(missing) => Verdict::Error(format!("you may not {}", named(missing))),
        Err(verdict) => verdict,
    }
}

fn fits(seen: &Seen) -> Verdict {
    match known(&seen.lacking) {
        Ok(lacking) => unless(lacking, |lacking| format!("there is no {lacking}")),
        Err(verdict) => verdict,
    }
}

fn prometheus(seen: &Seen) -> Verdict {
    match known(&seen.viz) {
        Ok(namespaces) if namespaces.is_empty() => Verdict::Warning(
            "no Namespace has the label linkerd.io/extension=viz: name a Prometheus with --set prometheus.url=..., or \
             the graph has no numbers"
                .to_owned(),
        ),
        Ok(_) => Verdict::Fine,
        Err(verdict) => verdict,
    }
}
