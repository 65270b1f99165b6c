//! Names as people write them, `deploy/web` or `shop/web`, made into the ids that the API knows.

use crate::args::Usage;
use std::{net::IpAddr, num::NonZeroU16};

/// Short and plural names that `kubectl` takes, and the kind in an id.
const KINDS: [(&[&str], &str); 9] = [
    (&["service", "services", "svc"], "service"),
    (&["deployment", "deployments", "deploy"], "deployment"),
    (&["statefulset", "statefulsets", "sts"], "statefulset"),
    (&["daemonset", "daemonsets", "ds"], "daemonset"),
    (&["replicaset", "replicasets", "rs"], "replicaset"),
    (&["job", "jobs"], "job"),
    (&["cronjob", "cronjobs", "cj"], "cronjob"),
    (&["pod", "pods", "po"], "pod"),
    (&["externalworkload", "externalworkloads", "ew"], "externalworkload"),
];

/// The short name to print for a kind of workload, as `kubectl` and `linkerd viz` print it.
pub(crate) fn short_kind(kind: &str) -> &str {
    match kind {
        "service" => "svc",
        "deployment" => "deploy",
        "statefulset" => "sts",
        "daemonset" => "ds",
        "replicaset" => "rs",
        "cronjob" => "cj",
        "pod" => "po",
        "externalworkload" => "ew",
        other => other,
    }
}

/// What to ask the API for when `text` is typed: `namespace/name` for a bare name, `namespace/kind/name` where a kind
/// is named. `namespace` is for names that do not bring theirs; without one they go as they are, and the API looks for
/// them in every namespace.
///
/// `a/b` is kind and name where `a` is a kind, else namespace and name; with three parts there is no doubt.
pub(crate) fn id(text: &str, namespace: Option<&str>) -> Result<String, Usage> {
    if text.starts_with("external:") {
        return Ok(text.to_owned());
    }
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 3
        || parts.iter().any(|part| part.is_empty() || !part.chars().all(|c| c.is_ascii_graphic()))
    {
        return Err(Usage(format!("`{text}` is not a name: write web, deploy/web or shop/deploy/web")));
    }
    if let Some((name, port)) = text.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) {
        return Err(Usage(format!("leave out the port: write `{name}` instead of `{name}:{port}`")));
    }
    Ok(match (&parts[..], namespace) {
        (&[name], Some(namespace)) => format!("{namespace}/{name}"),
        (&[first, name], Some(namespace)) if kind(first).is_some() => {
            format!("{namespace}/{}/{name}", kind(first).unwrap_or(first))
        }
        (&[namespace, written, name], _) => {
            format!("{namespace}/{}/{name}", kind(written).unwrap_or(written))
        }
        _ => text.to_owned(),
    })
}

/// As [`id`], for a client: also a ServiceAccount (`sa/web`, `shop/sa/web`), a mesh identity or an IP address.
pub(crate) fn client(text: &str, namespace: Option<&str>) -> Result<String, Usage> {
    let is_identity = text.starts_with("spiffe://") || text.contains(".serviceaccount.identity.");
    if is_identity || text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let account = |namespace: &str, name: &str| format!("{namespace}/serviceaccount/{name}");
    match (&text.split('/').collect::<Vec<_>>()[..], namespace) {
        (&[kind, name], Some(namespace)) if is_service_account(kind) => Ok(account(namespace, name)),
        (&[kind, name], None) if is_service_account(kind) => {
            Err(Usage(format!("`{text}` needs a namespace: add -n, or write NAMESPACE/sa/{name}")))
        }
        (&[namespace, kind, name], _) if is_service_account(kind) => Ok(account(namespace, name)),
        _ => id(text, namespace),
    }
}

/// As [`id`], with or without `:port` at its end.
pub(crate) fn target(text: &str, namespace: Option<&str>) -> Result<String, Usage> {
    if text.starts_with("external:") {
        return Ok(text.to_owned());
    }
    match text.rsplit_once(':') {
        None => id(text, namespace),
        Some((name, port)) => match port.parse::<NonZeroU16>() {
            Ok(port) => Ok(format!("{}:{port}", id(name, namespace)?)),
            Err(_) => Err(Usage(format!(
                "`{port}` in `{text}` is no port: write its number, from 1 to 65535, as in {name}:8080"
            ))),
        },
    }
}

fn is_service_account(kind: &str) -> bool {
    matches!(kind.to_ascii_lowercase().as_str(), "sa" | "serviceaccount" | "serviceaccounts")
}

/// The kind that is written as `text`, with or without its API group.
pub(crate) fn kind(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let text = text.split('.').next().unwrap_or_default();
    KINDS.iter().find(|(names, _)| names.contains(&text)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids_in_the_namespace_asked_for() {
        for (text, expected) in [
            ("web", "shop/web"),
            ("svc/web-svc", "shop/service/web-svc"),
            ("deploy/web", "shop/deployment/web"),
            ("Deployment.apps/web", "shop/deployment/web"),
            ("sts/db", "shop/statefulset/db"),
            ("emojivoto/web", "emojivoto/web"),
            ("emojivoto/svc/web", "emojivoto/service/web"),
            ("emojivoto/deploy/web", "emojivoto/deployment/web"),
            ("emojivoto/rollout/web", "emojivoto/rollout/web"),
            ("job/svc/web", "job/service/web"),
            ("external:api.example:443", "external:api.example:443"),
        ] {
            assert_eq!(id(text, Some("shop")).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_client_may_also_be_a_service_account_an_identity_or_an_address() {
        let identity = "web.shop.serviceaccount.identity.linkerd.cluster.local";
        for (text, expected) in [
            ("deploy/web", "shop/deployment/web"),
            ("sa/web", "shop/serviceaccount/web"),
            ("other/ServiceAccount/web", "other/serviceaccount/web"),
            (identity, identity),
            ("spiffe://root/a/b/c/d", "spiffe://root/a/b/c/d"),
            ("10.4.0.7", "10.4.0.7"),
            ("fd00::1", "fd00::1"),
        ] {
            assert_eq!(client(text, Some("shop")).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_target_keeps_its_port() {
        for (text, expected) in [
            ("web", "shop/web"),
            ("web:80", "shop/web:80"),
            ("svc/web:80", "shop/service/web:80"),
            ("other/deploy/web:8080", "other/deployment/web:8080"),
            ("external:10.1.2.3:443", "external:10.1.2.3:443"),
        ] {
            assert_eq!(target(text, Some("shop")).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn without_a_namespace_the_api_is_left_to_look_everywhere() {
        for text in ["web", "deploy/web", "emojivoto/web"] {
            assert_eq!(id(text, None).unwrap(), text);
        }
    }

    #[test]
    fn a_name_that_cannot_be_understood_is_refused_with_what_to_write() {
        let refusal = id("svc/web:8080", Some("shop")).unwrap_err().to_string();
        assert_eq!(refusal, "leave out the port: write `svc/web` instead of `svc/web:8080`");
        let refusal = target("svc/web:http", Some("shop")).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "`http` in `svc/web:http` is no port: write its number, from 1 to 65535, as in svc/web:8080"
        );
        let refusal = client("sa/web", None).unwrap_err().to_string();
        assert_eq!(refusal, "`sa/web` needs a namespace: add -n, or write NAMESPACE/sa/web");
        for text in ["web:0", "web:70000", "web:", ":80", "a//b:80"] {
            assert!(target(text, Some("shop")).is_err(), "{text:?}");
        }
        for text in ["", "/", "a//b", "a/b/c/d", "we b", "\u{1b}[2J"] {
            assert!(id(text, Some("shop")).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_short_kind_is_read_back_as_the_kind() {
        for (_, name) in KINDS {
            assert_eq!(kind(short_kind(name)), Some(name));
        }
    }
}
