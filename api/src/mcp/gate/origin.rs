//! Web pages that may ask. A browser says in `Origin` which page sends a request; programs send none.

use http::HeaderValue;

/// Pages of this machine, and those that the operator named.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    allowed: Vec<String>,
}

// === impl Origins ===

impl Origins {
    /// Besides pages of this machine, these, such as `https://inspector.example`.
    pub(crate) fn new(allowed: Vec<String>) -> Self {
        Self {
            allowed: allowed.into_iter().map(|it| it.trim_end_matches('/').to_ascii_lowercase()).collect(),
        }
    }

    /// `null`, as of files and sandboxed frames, is no page that can be told from others.
    pub(crate) fn allow(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let origin = origin.to_ascii_lowercase();
        if self.allowed.contains(&origin) {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()) => host,
            _ => authority,
        };
        matches!(scheme, "http" | "https") && matches!(host, "localhost" | "127.0.0.1" | "[::1]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_machine_and_named_ones_may_ask() {
        let origins = Origins::new(vec!["https://Inspector.example/".to_owned()]);
        for origin in
            ["http://localhost", "http://localhost:6274", "http://[::1]:1", "https://inspector.example"]
        {
            assert!(origins.allow(&HeaderValue::from_static(origin)), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://localhost.evil.example",
            "http://evil.example:80",
            "file://localhost",
            "https://inspector.example.evil",
            "http://127.0.0.1.nip.io",
            "http://localhost@evil.example",
        ] {
            assert!(!origins.allow(&HeaderValue::from_static(origin)), "{origin}");
        }
        assert!(!origins.allow(&HeaderValue::from_bytes(b"http://localhos\xff").unwrap()));
    }
}
