//! A signed token (RFC 7515, 7519): its parts, and whether one of the issuer's keys has signed it.
//!
//! The issuer's keys are all public, so only algorithms of such keys are known here: not `none`, and nothing that a public
//! key could be the secret of. A key has one algorithm, whatever the token says.

use super::keys::Keys;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

/// How a token may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, of keys of 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// Which key is said to have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyName {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
}

/// A token in its parts. Nothing of it is proved.
pub(crate) struct Signed<'a> {
    pub(crate) key: KeyName,
    /// What the signature is over.
    text: &'a [u8],
    claims: Vec<u8>,
    signature: Vec<u8>,
}

/// What is wrong with a token as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Opaque, encrypted, or cut off.
    #[error("it is no signed JWT, and others are not understood")]
    NoJwt,
    /// The first part is not what it has to be.
    #[error("its header is no JSON object with `alg`, or asks for what is not understood")]
    Header,
    /// A token of another kind, such as one for logging out.
    #[error("its `typ` is that of another kind of token")]
    Type,
    /// An algorithm that is not accepted.
    #[error("its `alg` is neither RS256 nor ES256")]
    Algorithm,
    /// No key is named.
    #[error("its header does not name a key (`kid`)")]
    NoKey,
    /// The issuer has no such key.
    #[error("the authorization server has no key of that name for this algorithm")]
    UnknownKey,
    /// Somebody else signed it, or it was changed.
    #[error("its signature is not that of the authorization server")]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Whatever is in it has to be understood, and nothing is.
    crit: Option<serde_json::Value>,
    /// Claims that are not base64; `crit` would have to name it.
    b64: Option<serde_json::Value>,
}

/// No issuer's names are longer.
const LONGEST_KID: usize = 256;
/// Tokens may say that they are of these kinds (RFC 7519, RFC 9068), or of none.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Takes a token apart. How long it may be was decided when it was read.
pub(crate) fn parse(token: &str) -> Result<Signed<'_>, Fault> {
    let (text, signature) = token.rsplit_once('.').ok_or(Fault::NoJwt)?;
    let (header, claims) = text.split_once('.').ok_or(Fault::NoJwt)?;
    // Five parts are an encrypted token: a dot is in none.
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::NoJwt);
    let (header, claims, signature) = (decoded(header)?, decoded(claims)?, decoded(signature)?);
    let header: Header = serde_json::from_slice(&header).map_err(|_| Fault::Header)?;
    if header.crit.is_some() || header.b64.is_some() {
        return Err(Fault::Header);
    }
    if header.typ.is_some_and(|it| !TYPES.contains(&it.to_ascii_lowercase().as_str())) {
        return Err(Fault::Type);
    }
    let algorithm = Algorithm::named(&header.alg).ok_or(Fault::Algorithm)?;
    let kid = header.kid.filter(|it| !it.is_empty() && it.len() <= LONGEST_KID).ok_or(Fault::NoKey)?;
    Ok(Signed { key: KeyName { kid, algorithm }, text: text.as_bytes(), claims, signature })
}

/// The claims, if one of these keys has signed them.
pub(crate) fn verify<'a>(signed: &'a Signed<'_>, keys: &Keys) -> Result<&'a [u8], Fault> {
    match keys.verify(&signed.key, signed.text, &signed.signature) {
        None => Err(Fault::UnknownKey),
        Some(false) => Err(Fault::Signature),
        Some(true) => Ok(&signed.claims),
    }
}

// === impl Algorithm ===

impl Algorithm {
    /// By its name in a token or a key; names are case-sensitive (RFC 7515 §4.1.1).
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}
