//! Where a linkerd-mcp API listens.

use std::{fmt, str::FromStr};

/// The port of the API's local listener, and of `serve` and `demo`.
pub(crate) const API_PORT: u16 = 8086;

/// Host and port of an API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: u16,
}

/// Text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// TLS was asked for.
    #[error(
        "https is not spoken here yet: leave out --api-addr to go through the Kubernetes API, or give a plain \
         `host:port`"
    )]
    Https,
    /// A path, a user or something else that has no meaning here.
    #[error("write `host:port`, as in `127.0.0.1:8086`")]
    Form,
}

// === impl Address ===

impl Address {
    /// What `serve` and `demo` listen on unless told otherwise.
    pub(crate) fn local() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: API_PORT }
    }

    /// The URL of the API.
    pub(crate) fn url(&self) -> String {
        format!("http://{self}")
    }
}

impl FromStr for Address {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.starts_with("https://") {
            return Err(ParseError::Https);
        }
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let authority: http::uri::Authority = text.parse().map_err(|_| ParseError::Form)?;
        let port_given = authority.as_str().len() > authority.host().len();
        match (authority.host(), authority.port_u16()) {
            ("", _) => Err(ParseError::Form),
            _ if authority.as_str().contains('@') => Err(ParseError::Form),
            (_, None | Some(0)) if port_given => Err(ParseError::Form),
            (host, port) => Ok(Self { host: host.to_owned(), port: port.unwrap_or(API_PORT) }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port_with_or_without_a_scheme() {
        for (text, address) in [
            ("127.0.0.1:8086", "127.0.0.1:8086"),
            ("http://localhost:9000/", "localhost:9000"),
            ("[::1]:8086", "[::1]:8086"),
            ("mesh.example", "mesh.example:8086"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), address);
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_what_to_write() {
        assert_eq!("https://mesh.example".parse::<Address>(), Err(ParseError::Https));
        for text in ["", ":8086", "host:port", "host:0", "host:99999", "user@host:1", "host:1/path", "a b"] {
            assert_eq!(text.parse::<Address>(), Err(ParseError::Form), "{text}");
        }
    }
}
