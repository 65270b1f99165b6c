//! Linkerd itself, and the custom resources that it and we read.

use super::{Check, Verdict, known, named, seen::Seen};

/// Linkerd 2.17 is edge-24.11.8: the first with rate limits and EgressNetworks, which the graph and policy know.
const OLDEST_EDGE: (u32, u32) = (24, 11);
const OLDEST_MINOR: u32 = 17;
/// The oldest Gateway API that Linkerd's own check takes.
const OLDEST_GATEWAY: (u32, u32, u32) = (1, 1, 1);

/// Without which no policy is known, and our own cannot be applied.
const POLICY_CRDS: [&str; 4] = [
    "authorizationpolicies.policy.linkerd.io",
    "meshtlsauthentications.policy.linkerd.io",
    "networkauthentications.policy.linkerd.io",
    "servers.policy.linkerd.io",
];
const GATEWAY_CRDS: [&str; 2] =
    ["httproutes.gateway.networking.k8s.io", "grpcroutes.gateway.networking.k8s.io"];

/// The control plane.
pub(super) const CHECKS: &[Check] = &[
    Check::new("Linkerd control plane exists", "mcp-linkerd-exists", exists),
    Check::new("Linkerd version is supported", "mcp-linkerd-version", version),
    Check::new("Linkerd policy CRDs exist", "mcp-linkerd-crds", policy_crds),
    Check::new("Gateway API version is supported", "mcp-gateway-api-version", gateway_api),
];

fn exists(seen: &Seen) -> Verdict {
    match known(&seen.linkerd) {
        Ok(Some(_)) => Verdict::Fine,
        Ok(None) => Verdict::Error(format!(
            "there is no ConfigMap linkerd-config in Namespace {}: Linkerd is not installed there; --linkerd-namespace \
             names another",
            seen.linkerd_namespace
        )),
        Err(verdict) => verdict,
    }
}

fn version(seen: &Seen) -> Verdict {
    let Ok(Some(said)) = &seen.linkerd else { return Verdict::Skip };
    let Some(version) = said else {
        return Verdict::Warning("the ConfigMap linkerd-config has no linkerdVersion".to_owned());
    };
    match is_supported(version) {
        Some(true) => Verdict::Fine,
        Some(false) => Verdict::Warning(format!(
            "Linkerd is {version}; 2.{OLDEST_MINOR} or edge-{}.{} or newer is needed",
            OLDEST_EDGE.0, OLDEST_EDGE.1
        )),
        None => Verdict::Warning(format!("the version of Linkerd is not understood: {version}")),
    }
}

/// None for what is no version of Linkerd: `edge-YY.M.N`, and `stable-2.M.N`, `enterprise-2.M.N` or `2.M.N` are.
fn is_supported(version: &str) -> Option<bool> {
    if let Some(edge) = version.strip_prefix("edge-") {
        let mut parts = edge.split('.').map(str::parse::<u32>);
        return Some((parts.next()?.ok()?, parts.next()?.ok()?) >= OLDEST_EDGE);
    }
    let number =
        version.rsplit_once("-2.").map_or_else(|| version.strip_prefix("2."), |(_, rest)| Some(rest))?;
    let minor = number.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(minor.parse::<u32>().ok()? >= OLDEST_MINOR)
}

fn policy_crds(seen: &Seen) -> Verdict {
    let crds = match known(&seen.crds) {
        Ok(crds) => crds,
        Err(verdict) => return verdict,
    };
    let missing: Vec<String> =
        POLICY_CRDS.iter().filter(|name| !crds.contains_key(**name)).map(|name| (*name).to_owned()).collect();
    match missing.is_empty() {
        true => Verdict::Fine,
        false => Verdict::Error(format!("missing CustomResourceDefinitions: {}", named(&missing))),
    }
}

fn gateway_api(seen: &Seen) -> Verdict {
    let Ok(crds) = &seen.crds else { return Verdict::Skip };
    for name in GATEWAY_CRDS {
        let Some(bundle) = crds.get(name) else {
            return Verdict::Warning(format!(
                "the CustomResourceDefinition {name} is missing: its routes are not known"
            ));
        };
        let Some(bundle) = bundle else {
            return Verdict::Warning(format!(
                "{name} does not say which version of the Gateway API it is from"
            ));
        };
        match triple(bundle) {
            Some(version) if version >= OLDEST_GATEWAY => {}
            Some(_) => {
                let (major, minor, patch) = OLDEST_GATEWAY;
                return Verdict::Warning(format!(
                    "{name} is from Gateway API {bundle}; v{major}.{minor}.{patch} or newer is needed"
                ));
            }
            None => {
                return Verdict::Warning(format!(
                    "{name} is from a Gateway API {bundle}, which is not understood"
                ));
            }
        }
    }
    Verdict::Fine
}

fn triple(version: &str) -> Option<(u32, u32, u32)> {
    let number = version.strip_prefix('v')?.split(['-', '+']).next()?;
    let mut parts = number.split('.').map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_linkerd_version_is_understood() {
        for (version, supported) in [
            ("edge-26.8.3", Some(true)),
            ("edge-24.11.8", Some(true)),
            ("edge-24.9.1", Some(false)),
            ("stable-2.14.10", Some(false)),
            ("stable-2.18.0", Some(true)),
            ("enterprise-2.20.1-1", Some(true)),
            ("2.17.0", Some(true)),
            ("dev-1234abcd", None),
            ("", None),
        ] {
            assert_eq!(is_supported(version), supported, "{version}");
        }
    }

    #[test]
    fn a_bundle_version_is_three_numbers() {
        assert_eq!(triple("v1.2.1"), Some((1, 2, 1)));
        assert_eq!(triple("v1.5.0-rc.1"), Some((1, 5, 0)));
        assert_eq!(triple("main"), None);
    }
}
