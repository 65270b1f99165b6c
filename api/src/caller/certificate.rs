//! What a certificate of the mesh says: whose it is, and how long it holds. Whether it is to be believed is decided by
//! rustls before.

use super::header;
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer as _, X509Certificate},
};

/// The most bytes of a certificate: one with a handful of names has less than 2 KiB.
const LARGEST: usize = 64 << 10;

/// Whose a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The identity: a DNS name or a SPIFFE ID.
    pub identity: String,
    /// From when it holds, in seconds since 1970.
    pub from: i64,
    /// Until when it holds, in seconds since 1970.
    pub until: i64,
}

/// Why a certificate is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No certificate at all.
    #[error("it is no X.509 certificate")]
    Unreadable,
    /// Nothing says whose it is. The common name is not looked at, as in Linkerd.
    #[error("it has no name of DNS and no URI")]
    Nameless,
    /// What it says is no identity.
    #[error("its first name is no identity: {0}")]
    NoIdentity(#[source] header::Fault),
}

/// Reads a certificate in DER. Its identity is the first name that is of DNS or a URI; names of DNS that end with a dot
/// are passed over (linkerd2-proxy, meshtls/verifier).
///
/// # Errors
///
/// When it names nobody.
pub fn read(der: &[u8]) -> Result<Named, Fault> {
    if der.len() > LARGEST {
        return Err(Fault::Unreadable);
    }
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Fault::Unreadable)?;
    if !rest.is_empty() {
        return Err(Fault::Unreadable);
    }
    let validity = certificate.validity();
    let mut names = certificate.extensions().iter().filter_map(|it| match it.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let first = names.next().into_iter().flatten().find_map(|name| match name {
        GeneralName::DNSName(name) if !name.ends_with('.') => Some(*name),
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    // Which of two lists counts would be for others to guess.
    if names.next().is_some() {
        return Err(Fault::Unreadable);
    }
    let identity = header::check(first.ok_or(Fault::Nameless)?).map_err(Fault::NoIdentity)?.to_owned();
    Ok(Named { identity, from: validity.not_before.timestamp(), until: validity.not_after.timestamp() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, string::Ia5String};

    const WEB: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";

    fn dns(name: &str) -> SanType {
        SanType::DnsName(Ia5String::try_from(name).unwrap())
    }

    fn uri(name: &str) -> SanType {
        SanType::URI(Ia5String::try_from(name).unwrap())
    }

    fn whose(names: Vec<SanType>) -> Result<String, Fault> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "admin.shop");
        params.subject_alt_names = names;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        read(certificate.der()).map(|it| it.identity)
    }

    #[test]
    fn the_first_name_of_dns_or_uri_is_the_identity() {
        let ip = SanType::IpAddress([10, 0, 0, 1].into());
        let mail = SanType::Rfc822Name(Ia5String::try_from("a@b.example").unwrap());
        assert_eq!(whose(vec![dns(WEB)]).as_deref(), Ok(WEB));
        assert_eq!(whose(vec![uri("spiffe://td/ns/a")]).as_deref(), Ok("spiffe://td/ns/a"));
        assert_eq!(whose(vec![ip, mail, dns(WEB), dns("x.y")]).as_deref(), Ok(WEB));
        assert_eq!(whose(vec![uri("spiffe://td/a"), dns(WEB)]).as_deref(), Ok("spiffe://td/a"));
        assert_eq!(whose(vec![dns("x.y."), dns(WEB)]).as_deref(), Ok(WEB));
    }

    #[test]
    fn a_certificate_that_names_nobody_is_nobodys() {
        let ip = SanType::IpAddress([10, 0, 0, 1].into());
        assert_eq!(whose(vec![]), Err(Fault::Nameless));
        assert_eq!(whose(vec![ip]), Err(Fault::Nameless));
        assert_eq!(whose(vec![dns("x.y.")]), Err(Fault::Nameless));
        for wrong in ["*.shop.serviceaccount.identity.linkerd.cluster.local", "admin", "Web.shop", "", "a..b"]
        {
            assert!(matches!(whose(vec![dns(wrong)]), Err(Fault::NoIdentity(_))), "{wrong}");
        }
        for wrong in ["https://td/a", "spiffe://", "spiffe://td/../a", "urn:a:b"] {
            assert!(matches!(whose(vec![uri(wrong), dns(WEB)]), Err(Fault::NoIdentity(_))), "{wrong}");
        }
        for wrong in [&b""[..], b"no", &[0x30, 0x80], &[0xff; 100_000]] {
            assert_eq!(read(wrong), Err(Fault::Unreadable));
        }
    }
}
