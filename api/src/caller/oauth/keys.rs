//! The keys of an issuer (RFC 7517). Those that are not for signatures we accept are passed over.

use super::jwt::{Algorithm, KeyName};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

/// What can verify signatures of an issuer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Debug, PartialEq, Eq)]
struct Key {
    kid: String,
    material: Material,
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, big-endian, without zeros before.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// The uncompressed point.
    P256(Vec<u8>),
}

/// What is wrong with a set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Something else than a set of keys.
    #[error("it is no JSON object with a list of `keys`")]
    NoKeys,
    /// More than anybody needs.
    #[error("it has more than {MOST} keys")]
    TooMany,
    /// Nothing to verify with.
    #[error("none of its keys has a `kid` and is for RS256 or ES256")]
    NoneOfUse,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Issuers have a handful.
const MOST: usize = 100;
/// The bytes of a coordinate on P-256.
const COORDINATE: usize = 32;

// === impl Keys ===

impl Keys {
    /// Reads a set.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Fault> {
        let Set { keys } = serde_json::from_slice(text).map_err(|_| Fault::NoKeys)?;
        if keys.len() > MOST {
            return Err(Fault::TooMany);
        }
        let ours = |key| serde_json::from_value::<Jwk>(key).ok().and_then(Jwk::key);
        let keys: Vec<Key> = keys.into_iter().filter_map(ours).collect();
        if keys.is_empty() { Err(Fault::NoneOfUse) } else { Ok(Self(keys)) }
    }

    fn named<'a>(&'a self, name: &'a KeyName) -> impl Iterator<Item = &'a Key> {
        self.0.iter().filter(|key| key.kid == name.kid && key.material.algorithm() == name.algorithm)
    }

    /// True when there is a key of this name for this algorithm.
    pub(crate) fn has(&self, name: &KeyName) -> bool {
        self.named(name).next().is_some()
    }

    /// Whether a key of this name has signed this; none without such a key.
    pub(crate) fn verify(&self, name: &KeyName, text: &[u8], signature: &[u8]) -> Option<bool> {
        self.has(name).then(|| self.named(name).any(|key| key.material.verify(text, signature)))
    }
}

// === impl Jwk ===

impl Jwk {
    fn key(self) -> Option<Key> {
        if self.purpose.as_deref().is_some_and(|it| it != "sig")
            || self.key_ops.as_ref().is_some_and(|all| all.iter().all(|it| it != "verify"))
        {
            return None;
        }
        let bytes = |part: Option<String>| URL_SAFE_NO_PAD.decode(part?).ok();
        let material = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { n: number(bytes(self.n)?)?, e: number(bytes(self.e)?)? },
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(self.x)?, bytes(self.y)?);
                if x.len() != COORDINATE || y.len() != COORDINATE {
                    return None;
                }
                Material::P256([&[4], x.as_slice(), &y].concat())
            }
            _ => return None,
        };
        // A key that says what it is for is for nothing else.
        let algorithm = material.algorithm();
        let fits = self.alg.is_none_or(|it| Algorithm::named(&it) == Some(algorithm));
        fits.then_some(Key { kid: self.kid, material })
    }
}

/// A number without zeros before it, which some issuers write.
fn number(bytes: Vec<u8>) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|it| *it != 0)?;
    Some(bytes[first..].to_vec())
}

// === impl Material ===

impl Material {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, text, signature).is_ok()
            }
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text, signature).is_ok()
            }
        }
    }
}
