//! Which names a request may call us by.
//!
//! A web page may make its own name lead to 127.0.0.1 (DNS rebinding) and then read what answers there, because to
//! the browser it is the page's own origin. Such a request carries the page's name in its Host header.

use super::Problem;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use std::net::IpAddr;

/// The addresses that are ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hosts {
    pub(crate) bound: IpAddr,
}

/// Refuses requests that call us by any other name.
pub(crate) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    // HTTP/2 has the authority in the URI, HTTP/1.1 has a Host header.
    let header = request.headers().get(header::HOST).and_then(|it| it.to_str().ok());
    let host = request.uri().authority().map(http::uri::Authority::as_str).or(header).unwrap_or_default();
    if hosts.allow(host) {
        return next.run(request).await;
    }
    Problem {
        status: StatusCode::FORBIDDEN,
        error: format!("requests for the host `{host}` are not answered"),
        hint: "call this by localhost, 127.0.0.1 or [::1]; other names are refused so that web pages cannot read \
               the mesh through a browser"
            .to_owned(),
    }
    .into_response()
}

impl Hosts {
    /// True for names that only lead here. The port may be any: a port-forward has one of its own.
    fn allow(self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        address.parse::<IpAddr>().is_ok_and(|address| {
            address == IpAddr::from([127, 0, 0, 1])
                || address.is_loopback() && address.is_ipv6()
                || address == self.bound
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_lead_here_are_allowed() {
        let hosts = Hosts { bound: IpAddr::from([127, 0, 0, 2]) };
        for host in
            ["localhost", "LOCALHOST:8086", "127.0.0.1", "127.0.0.1:1", "[::1]:8086", "[::1]", "127.0.0.2:80"]
        {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evil.example:8086",
            "10.0.0.1",
            "127.0.0.1.nip.io",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }
}
