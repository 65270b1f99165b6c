//! What says who calls: the proxy's header, a bearer token, a certificate.

use crate::{seed, split};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use linkerd_mcp_api::caller::{Principal, Proof, bearer, certificate, header};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType, string::Ia5String};

const NAME: HeaderName = HeaderName::from_static("l5d-client-id");
const SUFFIX: &str = "linkerd.cluster.local";

/// Form `t`: values of `Authorization` between line feeds. `c`: a certificate in DER. Anything else: values of the
/// header between line feeds.
pub fn run(input: &[u8]) {
    let (form, rest) = split(input);
    match form {
        b't' => token(&headers(&AUTHORIZATION, rest)),
        b'c' => {
            if let Ok(named) = certificate::read(rest) {
                identity(&named.identity);
            }
        }
        _ => {
            let headers = headers(&NAME, rest);
            match header::identity(&headers) {
                Ok(Some(named)) => {
                    assert_eq!(headers.get_all(NAME).iter().count(), 1, "one of several is believed");
                    assert_eq!(named.as_bytes(), headers[NAME].as_bytes());
                    identity(named);
                }
                Ok(None) => assert!(headers.is_empty()),
                Err(_) => {}
            }
        }
    }
}

/// What a client of HTTP could send.
fn headers(name: &HeaderName, text: &[u8]) -> HeaderMap {
    let values = text.split(|it| *it == b'\n').filter_map(|it| HeaderValue::from_bytes(it).ok());
    values.map(|value| (name.clone(), value)).collect()
}

fn token(headers: &HeaderMap) {
    if let Ok(Some(token)) = bearer::token(headers) {
        assert!(!token.is_empty() && token.bytes().all(|it| it.is_ascii_graphic()), "{token:?}");
        assert_eq!(headers.len(), 1, "one of several is believed");
    }
}

/// Whoever is believed has a plain name, and is a ServiceAccount of Kubernetes only if that says so.
fn identity(named: &str) {
    assert!(named.bytes().all(|it| it.is_ascii_graphic()) && !named.contains(','), "{named:?}");
    assert_eq!(header::check(named), Ok(named));
    let principal = Principal::of_identity(named, SUFFIX, Proof::Certificate);
    match principal.user.strip_prefix("system:serviceaccount:") {
        Some(account) => {
            let (namespace, name) = account.split_once(':').expect("a namespace and a name");
            let back = format!("{name}.{namespace}.serviceaccount.identity.{SUFFIX}");
            assert_eq!(back, named, "another identity than that of the account");
            assert!(!namespace.contains('.') && !namespace.is_empty() && !name.is_empty());
        }
        None => assert_eq!(*principal.user, format!("linkerd-mcp:{named}")),
    }
}

/// Identities that count and such that do not, alone, doubled, in certificates; and tokens.
pub fn seeds() -> Vec<Vec<u8>> {
    let names = [
        "web.shop.serviceaccount.identity.linkerd.cluster.local",
        "a.b.c.shop.serviceaccount.identity.linkerd.cluster.local",
        "web.shop.serviceaccount.identity.linkerd.other.local",
        "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local.",
        "*.shop.serviceaccount.identity.linkerd.cluster.local",
        "spiffe://cluster.local/ns/shop/sa/web",
        "spiffe://cluster.local/../admin",
        "system:masters",
        "",
    ];
    let mut seeds: Vec<Vec<u8>> = names.iter().map(|name| seed(b'h', name)).collect();
    seeds.push(seed(b'h', names[..2].join("\n")));
    for value in ["Bearer e30.e30.c2ln", "bearer x", "Bearer ", "Basic YTpi", "Bearer a\nBearer b"] {
        seeds.push(seed(b't', value));
    }
    for pair in names.windows(2) {
        let names = pair.iter().filter_map(|name| {
            let text = Ia5String::try_from(*name).ok()?;
            Some(if name.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) })
        });
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names.collect();
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("a certificate can be made");
        seeds.push(seed(b'c', certificate.der()));
    }
    seeds
}
