//! TLS to Redis: whom we trust, who we are, and what a failed handshake means.

use crate::{RedisFault, secret::read_file};
use redis::{ClientTlsConfig, TlsCertificates};
use rustls::{AlertDescription, CertificateError, Error};
use std::{path::PathBuf, sync::Arc};

/// How TLS is spoken. The files are read at every connection, so that they can be rotated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Speak TLS also where the URL does not say so. `rediss://` says so.
    pub on: bool,
    /// PEM with the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM with our certificate and its intermediates, for a Redis that wants one (mutual TLS).
    pub cert_file: Option<PathBuf>,
    /// PEM with the key of [`Self::cert_file`].
    pub key_file: Option<PathBuf>,
    /// Take any certificate, whoever signed it and whoever it is for. For trying things out only.
    pub insecure: bool,
}

// === impl Tls ===

impl Tls {
    /// The certificates as they are in the files now; `None` when no file is named.
    pub(crate) async fn certificates(&self) -> Result<Option<TlsCertificates>, RedisFault> {
        let root_cert = match &self.ca_file {
            Some(path) => Some(read_file(path).await?),
            None => None,
        };
        let client_tls = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Some(ClientTlsConfig {
                client_cert: read_file(cert).await?,
                client_key: read_file(key).await?,
            }),
            _ => None,
        };
        // The library takes a file without any certificate for an empty list, and then trusts nobody.
        if let (Some(pem), Some(path)) = (&root_cert, &self.ca_file)
            && !contains(pem, b"-----BEGIN CERTIFICATE-----")
        {
            let reason = "it holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)";
            return Err(RedisFault::Contents { path: path.clone(), reason });
        }
        let some = root_cert.is_some() || client_tls.is_some();
        Ok(some.then_some(TlsCertificates { client_tls, root_cert }))
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What to do about a failed handshake.
pub(crate) fn advice(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "nobody we trust signed its certificate; name its authority with --redis-ca-file"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for other names; connect by a name or address that is in it",
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid at this time; renew it, and look at the clocks",
        Error::InvalidMessage(_) => {
            "what listens there does not speak TLS; use its TLS port, or redis:// without TLS"
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure
            | AlertDescription::AccessDenied,
        ) => {
            "it wants a certificate of ours that it trusts; give it with --redis-cert-file and --redis-key-file"
        }
        _ => "both sides must agree on TLS 1.2 or 1.3",
    }
}

/// The error of rustls in an error's chain.
pub(crate) fn rustls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    if let Some(found) = error.downcast_ref::<Error>() {
        return Some(found);
    }
    // An Arc and an io::Error show the source of what is in them, and not itself, in the chain.
    if let Some(shared) = error.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        return rustls_error(&**shared);
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
    if let Some(found) = inner.and_then(|inner| rustls_error(inner)) {
        return Some(found);
    }
    error.source().and_then(rustls_error)
}
