//! Which names a request may call us by.
//!
//! A web page may make its own name lead to 127.0.0.1, or to a Service's address (DNS rebinding), and then read what
//! answers there, because to the browser it is the page's own origin. Such a request carries the page's name in its Host
//! header.

use std::net::IpAddr;

/// The names that are ours on one listener.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    place: Place,
    /// In small letters; one that begins with `*.` stands for every name below.
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// This machine only, at this address.
    Loopback(IpAddr),
    /// Any address: an attacker's page cannot have that as its name.
    Network,
}

impl Hosts {
    /// For a loopback address; also these names.
    pub(crate) fn local(bound: IpAddr, names: &[String]) -> Self {
        Self { place: Place::Loopback(bound), names: small(names) }
    }

    /// For an address that others reach: these names.
    pub(crate) fn named(names: &[String]) -> Self {
        Self { place: Place::Network, names: small(names) }
    }

    /// True for names that only lead here. The port may be any: a port-forward has one of its own.
    pub(crate) fn allow(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match (self.place, address.parse::<IpAddr>()) {
            (Place::Network, Ok(_)) => true,
            (Place::Loopback(bound), Ok(address)) => {
                address == IpAddr::from([127, 0, 0, 1])
                    || address.is_loopback() && address.is_ipv6()
                    || address == bound
            }
            (Place::Loopback(_), Err(_)) if host.eq_ignore_ascii_case("localhost") => true,
            (_, Err(_)) => self.named_so(host),
        }
    }

    fn named_so(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let fits = |name: &String| match name.strip_prefix('*') {
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => host == *name,
        };
        !host.is_empty() && self.names.iter().any(fits)
    }
}

fn small(names: &[String]) -> Vec<String> {
    names.iter().map(|it| it.trim().to_ascii_lowercase()).filter(|it| !it.is_empty() && it != "*").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_lead_here_are_allowed() {
        let hosts = Hosts::local([127, 0, 0, 2].into(), &["mesh.example".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST:8086",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]:8086",
            "[::1]",
            "127.0.0.2:80",
            "mesh.example:80",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example:8086",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "evil.mesh.example",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn in_the_mesh_addresses_and_the_names_of_the_service_are_allowed() {
        let names = ["mcp-api", "MCP-api.linkerd-mcp.svc.cluster.local", "*.mcp.example", "*", ""];
        let hosts = Hosts::named(&names.map(str::to_owned));
        for host in [
            "mcp-api",
            "mcp-api:8086",
            "mcp-api.linkerd-mcp.svc.cluster.local.:8086",
            "Mcp-Api.Linkerd-Mcp.Svc.Cluster.Local",
            "10.0.0.5:8086",
            "[fd00::5]:8086",
            "a.mcp.example",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "",
            ".",
            "localhost",
            "evil.example",
            "mcp-api.evil.example",
            "mcp.example",
            ".mcp.example",
            "10.0.0.5.nip.io",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }
}
