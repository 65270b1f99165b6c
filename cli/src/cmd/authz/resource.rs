//! Resources as `kubectl` and `linkerd viz` take them.

use crate::{args::Usage, name};
use linkerd_mcp_proto::v1::PortAccess;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// One Service or workload, as `kind/name`, `name` or with its namespace.
    Named(String),
    /// All of one kind in a namespace; `service` for what stands behind Services.
    All(&'static str),
    /// Everything in this namespace.
    Namespace(String),
}

// === impl Resource ===

impl Resource {
    /// Reads one or two words.
    pub(super) fn read(words: &[String]) -> Result<Self, Usage> {
        match words {
            [kind, name] if is_namespace(kind) && is_name(name) => Ok(Self::Namespace(name.clone())),
            [kind, name] => match name::kind(kind) {
                Some(kind) if is_name(name) => Ok(Self::Named(format!("{kind}/{name}"))),
                _ => Err(Usage(format!("`{kind} {name}` is no resource: write deploy/web or deploy web"))),
            },
            [one] => match (name::kind(one), one.split_once('/')) {
                (Some(kind), _) => Ok(Self::All(kind)),
                (None, _) if is_namespace(one) => Err(Usage("name the namespace, as in ns/shop".to_owned())),
                (None, Some((kind, name))) if is_namespace(kind) && is_name(name) => {
                    Ok(Self::Namespace(name.to_owned()))
                }
                (None, _) => Ok(Self::Named(one.clone())),
            },
            _ => Err(Usage("name a resource, as in deploy/web".to_owned())),
        }
    }

    /// True when a port of the namespace belongs to it.
    pub(super) fn includes(&self, port: &PortAccess) -> bool {
        match self {
            Self::All("service") => !port.services.is_empty(),
            Self::All(kind) => port.workload.split('/').nth(1) == Some(kind),
            Self::Named(_) | Self::Namespace(_) => true,
        }
    }
}

fn is_namespace(kind: &str) -> bool {
    matches!(kind.to_ascii_lowercase().as_str(), "ns" | "namespace" | "namespaces")
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Resource, Usage> {
        Resource::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn resources_are_read_as_kubectl_reads_them() {
        for (words, expected) in [
            (&["deploy/web"][..], Resource::Named("deploy/web".into())),
            (&["deploy", "web"][..], Resource::Named("deployment/web".into())),
            (&["web"][..], Resource::Named("web".into())),
            (&["shop/sts/db"][..], Resource::Named("shop/sts/db".into())),
            (&["deploy"][..], Resource::All("deployment")),
            (&["svc"][..], Resource::All("service")),
            (&["po"][..], Resource::All("pod")),
            (&["ns/shop"][..], Resource::Namespace("shop".into())),
            (&["ns", "shop"][..], Resource::Namespace("shop".into())),
        ] {
            assert_eq!(read(words).unwrap(), expected, "{words:?}");
        }
        for words in [&["ns"][..], &["web", "cart"][..], &["deploy", "a/b"][..], &["ns", ""][..]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn all_of_a_kind_are_the_ports_of_that_kind() {
        let port = |workload: &str, services: &[&str]| PortAccess {
            workload: workload.into(),
            services: services.iter().map(|it| (*it).to_owned()).collect(),
            ..PortAccess::default()
        };
        let ports = [port("shop/deployment/web", &["shop/web:80"]), port("shop/pod/bare", &[])];
        let of = |resource: Resource| ports.each_ref().map(|port| resource.includes(port));
        assert_eq!(of(Resource::All("deployment")), [true, false]);
        assert_eq!(of(Resource::All("pod")), [false, true]);
        assert_eq!(of(Resource::All("service")), [true, false]);
        assert_eq!(of(Resource::Namespace("shop".into())), [true, true]);
    }
}
