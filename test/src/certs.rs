//! Certificates for tests, made on the spot.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
    string::Ia5String,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make a certificate")]
pub struct Error(#[from] rcgen::Error);

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The certificate.
    pub cert: String,
    /// Its private key (PKCS#8, ECDSA P-256).
    pub key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// Two keys that belong together, both as PEM.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The private key (PKCS#8, ECDSA P-256).
    pub private: String,
    /// The public key.
    pub public: String,
}

// === impl Keys ===

impl Keys {
    /// Makes a pair.
    pub fn new() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        Ok(Self { private: key.serialize_pem(), public: key.public_key_pem() })
    }
}

// === impl Authority ===

impl Authority {
    /// Makes a self-signed authority.
    pub fn new(name: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a server that is reached under these names or addresses.
    pub fn server(&self, names: &[&str]) -> Result<Leaf, Error> {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.distinguished_name = subject(names.first().unwrap_or(&"server"), None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A certificate by which Kubernetes knows a user (common name) and a group (organization).
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Leaf, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A certificate as Linkerd gives its proxies one: with this name, DNS' or a URI, for so many seconds before and after
    /// now. Without a name it is nobody's.
    pub fn workload(&self, name: Option<&str>, seconds: std::ops::Range<i64>) -> Result<Leaf, Error> {
        let (params, key) = (workload(name, seconds)?, KeyPair::generate()?);
        Ok(Leaf { cert: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }

    /// Signs what a workload asks for, and gives the certificate in DER. The names that it asks for come with it.
    pub fn certify(&self, request: &[u8], lifetime: Duration) -> Result<(Vec<u8>, Vec<String>), Error> {
        let mut request = CertificateSigningRequestParams::from_der(&request.to_vec().into())?;
        let names = request.params.subject_alt_names.iter().map(|it| match it {
            SanType::DnsName(name) => name.as_str().to_owned(),
            other => format!("{other:?}"),
        });
        let names = names.collect();
        validity(&mut request.params, -20..i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        usages(&mut request.params);
        Ok((request.signed_by(&self.issuer)?.der().to_vec(), names))
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Leaf, Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Leaf { cert, key: key.serialize_pem() })
    }
}

/// What nobody has signed but the workload itself.
pub fn self_signed(name: &str) -> Result<Leaf, Error> {
    let (params, key) = (workload(Some(name), -60..3_600)?, KeyPair::generate()?);
    Ok(Leaf { cert: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

fn workload(name: Option<&str>, seconds: std::ops::Range<i64>) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = name {
        let text = Ia5String::try_from(name)?;
        let name = if name.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) };
        params.subject_alt_names = vec![name];
    }
    validity(&mut params, seconds);
    usages(&mut params);
    Ok(params)
}

fn validity(params: &mut CertificateParams, seconds: std::ops::Range<i64>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let at = |offset: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_add_signed(offset));
    (params.not_before, params.not_after) = (at(seconds.start), at(seconds.end));
}

fn usages(params: &mut CertificateParams) {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
}

fn subject(name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, name);
    subject
}

/// Chooses the TLS implementation: rustls wants one named as soon as two are compiled in. A second call changes nothing.
pub fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
