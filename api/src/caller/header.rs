//! The identity that the pod's own inbound proxy states in a header.
//!
//! The proxy sets or removes `l5d-client-id` on every HTTP request that it hands on (linkerd2-proxy
//! app/inbound/src/http/set_identity_header.rs). Whether a request came through it is not decided here.

use http::HeaderMap;

/// The name of the header, as HTTP/2 has it; in HTTP/1.1 the case of letters does not matter.
pub(crate) const NAME: &str = "l5d-client-id";

/// A DNS name is at most this long (RFC 1035).
const LONGEST_NAME: usize = 253;
/// A SPIFFE ID is at most this long (SPIFFE-ID 2.3).
const LONGEST_URI: usize = 2_048;
const SPIFFE: &str = "spiffe://";

/// What is wrong with a header that names a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More than one: it cannot be known which of them the proxy has set.
    #[error("it is there more than once")]
    Several,
    /// It names nobody.
    #[error("it is empty")]
    Empty,
    /// Longer than any identity may be.
    #[error("it is longer than an identity can be")]
    TooLong,
    /// Neither a DNS name in small letters nor a SPIFFE ID.
    #[error(
        "it is neither a mesh identity such as web.shop.serviceaccount.identity.linkerd.cluster.local nor a SPIFFE ID"
    )]
    NoIdentity,
}

/// The identity that the header states; none without the header.
///
/// # Errors
///
/// When the header cannot be the proxy's.
pub fn identity(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(NAME).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::Several);
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Fault::NoIdentity)?;
    check(text).map(Some)
}

/// Lets through what can be the identity of a workload: a DNS name as certificates of Linkerd have it, or a SPIFFE ID.
/// No space, no comma, no control character and nothing outside ASCII is in either.
///
/// # Errors
///
/// When it is neither.
pub fn check(text: &str) -> Result<&str, Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    let fits = match text.strip_prefix(SPIFFE) {
        Some(_) if text.len() > LONGEST_URI => return Err(Fault::TooLong),
        Some(rest) => is_spiffe(rest),
        None if text.len() > LONGEST_NAME => return Err(Fault::TooLong),
        // One of a single label is nobody's in a mesh, and looks like a user of Kubernetes.
        None => text.contains('.') && text.split('.').all(is_label),
    };
    if fits { Ok(text) } else { Err(Fault::NoIdentity) }
}

fn is_label(label: &str) -> bool {
    let inner = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A trust domain, and a path without empty segments and without segments of dots (SPIFFE-ID 2).
fn is_spiffe(rest: &str) -> bool {
    let of_domain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-._".contains(&it);
    let of_path = |it: u8| it.is_ascii_alphanumeric() || b"-._".contains(&it);
    let mut segments = rest.split('/');
    let domain = segments.next().unwrap_or_default();
    !domain.is_empty()
        && domain.len() <= 255
        && domain.bytes().all(of_domain)
        && segments.all(|it| !matches!(it, "" | "." | "..") && it.bytes().all(of_path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let name = HeaderName::from_static(NAME);
        values.iter().map(|it| (name.clone(), HeaderValue::from_bytes(it).unwrap())).collect()
    }

    #[test]
    fn the_proxys_identity_is_read_whatever_the_case_of_the_headers_name() {
        assert_eq!(identity(&headers(&[WEB.as_bytes()])), Ok(Some(WEB)));
        assert_eq!(identity(&HeaderMap::new()), Ok(None));
        let odd = HeaderName::from_bytes(b"L5D-Client-ID").unwrap();
        let map: HeaderMap = [(odd, HeaderValue::from_static(WEB))].into_iter().collect();
        assert_eq!(identity(&map), Ok(Some(WEB)));
        for spiffe in ["spiffe://cluster.local", "spiffe://cluster.local/ns/shop/sa/Web_1", "spiffe://a/b"] {
            assert_eq!(identity(&headers(&[spiffe.as_bytes()])), Ok(Some(spiffe)));
        }
    }

    #[test]
    fn a_header_that_cannot_be_the_proxys_names_nobody() {
        let long = format!("{}.shop", "a.".repeat(200));
        let long_label = format!("{}.shop", "a".repeat(64));
        let long_uri = format!("spiffe://cluster.local/{}", "a".repeat(2_048));
        let cases: [(&[&[u8]], Fault); 27] = [
            (&[b"admin"], Fault::NoIdentity),
            (&[WEB.as_bytes(), WEB.as_bytes()], Fault::Several),
            (&[b"", WEB.as_bytes()], Fault::Several),
            (&[b""], Fault::Empty),
            (&[b" "], Fault::NoIdentity),
            (&[b"."], Fault::NoIdentity),
            (&[b"web."], Fault::NoIdentity),
            (&[b".web"], Fault::NoIdentity),
            (&[b"web..shop"], Fault::NoIdentity),
            (&[b"-web.shop"], Fault::NoIdentity),
            (&[b"Web.shop"], Fault::NoIdentity),
            (&[b"web shop"], Fault::NoIdentity),
            (&[b"web.shop, admin.shop"], Fault::NoIdentity),
            (&[b"web.shop,admin.shop"], Fault::NoIdentity),
            (&[b"web.shop\t"], Fault::NoIdentity),
            (&["wéb.shop".as_bytes()], Fault::NoIdentity),
            (&[b"web\xff.shop"], Fault::NoIdentity),
            (&[b"system:masters"], Fault::NoIdentity),
            (&[b"*"], Fault::NoIdentity),
            (&[b"http://cluster.local/web"], Fault::NoIdentity),
            (&[b"spiffe://"], Fault::NoIdentity),
            (&[b"spiffe://Cluster.local/web"], Fault::NoIdentity),
            (&[b"spiffe://a/../b"], Fault::NoIdentity),
            (&[b"spiffe://a//b"], Fault::NoIdentity),
            (&[long.as_bytes()], Fault::TooLong),
            (&[long_uri.as_bytes()], Fault::TooLong),
            (&[long_label.as_bytes()], Fault::NoIdentity),
        ];
        for (values, fault) in cases {
            assert_eq!(identity(&headers(values)), Err(fault), "{values:?}");
        }
    }
}
