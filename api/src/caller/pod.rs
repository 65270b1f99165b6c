//! Whether the pod that this runs in lets its proxy say who calls: decided once, at the start, on what the downward API
//! tells of the pod.

use linkerd_mcp_graph::policy::Ports;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a pod knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its addresses (`status.podIPs`).
    pub ips: Vec<IpAddr>,
    /// Its label `linkerd.io/control-plane-ns`, which the injector sets; empty without.
    pub control_plane: String,
    /// Its annotation `config.linkerd.io/skip-inbound-ports`; empty without.
    pub skipped: String,
    /// Its annotation `config.linkerd.io/opaque-ports`; empty without.
    pub opaque: String,
}

/// Why what comes to a port of this pod cannot be known to have come through its proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// No address is known.
    #[error("the pod's addresses are not known: give them with --pod-ips, from status.podIPs")]
    NoAddress,
    /// What is forwarded into the pod comes from there.
    #[error(
        "{0} cannot be an address of the mesh listener: what is forwarded into the pod comes from it and passes no \
         proxy; give the pod's own with --pod-ips, from status.podIPs"
    )]
    Loopback(IpAddr),
    /// Nobody has said which addresses there are.
    #[error("{0} stands for every address; give those of the pod with --pod-ips, from status.podIPs")]
    Every(IpAddr),
    /// The pod has no proxy.
    #[error(
        "this pod has no Linkerd proxy (it has no label linkerd.io/control-plane-ns), so nobody vouches for callers \
         over the mesh: let it be injected, or start without --mesh-port"
    )]
    NotInjected,
    /// The proxy is that of another mesh.
    #[error(
        "the proxy of this pod belongs to the control plane in namespace {found}, and callers are expected from that \
         in {expected}: set --linkerd-namespace"
    )]
    OtherMesh {
        /// The control plane's namespace that the pod's label names.
        found: String,
        /// The one that was named here.
        expected: String,
    },
    /// The port goes past the proxy.
    #[error(
        "port {0} is among config.linkerd.io/skip-inbound-ports, so that what comes there passes no proxy and callers \
         could call themselves anything: take it out, or start without --mesh-port"
    )]
    Skipped(u16),
    /// The proxy passes bytes on without reading them as HTTP.
    #[error(
        "port {0} is among config.linkerd.io/opaque-ports, so that the proxy does not read what comes there and callers \
         could call themselves anything: take it out, or start without --mesh-port"
    )]
    Opaque(u16),
    /// An annotation cannot be read, so it may mean the port.
    #[error("the annotation {annotation} is `{text}`, which is no list of ports such as 25,4567-4568")]
    Unreadable {
        /// Its name.
        annotation: &'static str,
        /// What it says.
        text: String,
    },
}

// === impl Pod ===

impl Pod {
    /// Checks that what comes to this port at the pod's own addresses has passed its proxy, in a mesh whose control
    /// plane is in the namespace `control_plane`.
    ///
    /// # Errors
    ///
    /// When it has not, or when that cannot be told.
    pub fn check(&self, port: u16, control_plane: &str) -> Result<(), Untrusted> {
        if self.ips.is_empty() {
            return Err(Untrusted::NoAddress);
        }
        for ip in self.ips.iter().map(IpAddr::to_canonical) {
            // Only these two: a port-forward dials `localhost`, and nobody else's address is 127.0.0.2.
            if ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST {
                return Err(Untrusted::Loopback(ip));
            }
            if ip.is_unspecified() {
                return Err(Untrusted::Every(ip));
            }
        }
        if self.control_plane.is_empty() {
            return Err(Untrusted::NotInjected);
        }
        if self.control_plane != control_plane {
            let (found, expected) = (self.control_plane.clone(), control_plane.to_owned());
            return Err(Untrusted::OtherMesh { found, expected });
        }
        if ports("config.linkerd.io/skip-inbound-ports", &self.skipped)?.contains(port) {
            return Err(Untrusted::Skipped(port));
        }
        if ports("config.linkerd.io/opaque-ports", &self.opaque)?.contains(port) {
            return Err(Untrusted::Opaque(port));
        }
        Ok(())
    }
}

fn ports(annotation: &'static str, text: &str) -> Result<Ports, Untrusted> {
    text.parse().map_err(|_| Untrusted::Unreadable { annotation, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_pod() -> Pod {
        Pod { ips: vec![[10, 0, 0, 5].into()], control_plane: "linkerd".into(), ..Pod::default() }
    }

    #[test]
    fn an_injected_pod_whose_port_the_proxy_reads_is_trusted() {
        assert_eq!(mk_pod().check(8086, "linkerd"), Ok(()));
        let both = vec![[10, 0, 0, 5].into(), "fd00::5".parse().unwrap()];
        let others = Pod { ips: both, skipped: "4567, 9000-9100".into(), opaque: "25".into(), ..mk_pod() };
        assert_eq!(others.check(8086, "linkerd"), Ok(()));
    }

    #[test]
    fn a_port_that_the_proxy_does_not_read_is_not_trusted() {
        let cases = [
            (Pod { ips: vec![], ..mk_pod() }, Untrusted::NoAddress),
            (
                Pod { ips: vec![[127, 0, 0, 1].into()], ..mk_pod() },
                Untrusted::Loopback([127, 0, 0, 1].into()),
            ),
            (
                Pod { ips: vec![[10, 0, 0, 5].into(), Ipv6Addr::LOCALHOST.into()], ..mk_pod() },
                Untrusted::Loopback(Ipv6Addr::LOCALHOST.into()),
            ),
            (Pod { ips: vec![[0, 0, 0, 0].into()], ..mk_pod() }, Untrusted::Every([0, 0, 0, 0].into())),
            (Pod { control_plane: String::new(), ..mk_pod() }, Untrusted::NotInjected),
            (
                Pod { control_plane: "l5d".into(), ..mk_pod() },
                Untrusted::OtherMesh { found: "l5d".into(), expected: "linkerd".into() },
            ),
            (Pod { skipped: "25,8086".into(), ..mk_pod() }, Untrusted::Skipped(8086)),
            (Pod { skipped: "8000-9000".into(), ..mk_pod() }, Untrusted::Skipped(8086)),
            (Pod { opaque: "8080-8090".into(), ..mk_pod() }, Untrusted::Opaque(8086)),
            (
                Pod { opaque: "http".into(), ..mk_pod() },
                Untrusted::Unreadable { annotation: "config.linkerd.io/opaque-ports", text: "http".into() },
            ),
        ];
        for (pod, why) in cases {
            assert_eq!(pod.check(8086, "linkerd"), Err(why), "{pod:?}");
        }
    }
}
