//! The token of a plan, and what it does: it names the plan without being kept anywhere, and seals it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{digest, hmac};
use serde_json::Value;
use std::fmt;

/// What ApplyPlan wants. Whoever has it holds half of the approval; the other half is to be the one who planned.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    secret: [u8; 32],
}

/// Before every token, so that people and scanners for secrets know what it is.
const PREFIX: &str = "plan-";

/// The bytes of an HMAC of SHA-256.
const TAG: usize = 32;

// === impl Token ===

impl Token {
    pub(crate) fn new() -> Self {
        Self { secret: rand::random() }
    }

    /// Reads what [`Token::expose`] gave.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let secret = BASE64.decode(text.trim().strip_prefix(PREFIX)?).ok()?;
        Some(Self { secret: secret.try_into().ok()? })
    }

    /// For the one who planned, and nobody else: not for logs.
    pub(crate) fn expose(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(self.secret))
    }

    /// The name that the plan is kept under. The token does not follow from it.
    pub(crate) fn name(&self) -> String {
        sha256(&self.secret)
    }

    /// The plan with a seal that only the token makes.
    pub(crate) fn seal(&self, mut plan: Vec<u8>) -> Vec<u8> {
        let tag = hmac::sign(&self.key(), &plan);
        plan.extend_from_slice(tag.as_ref());
        plan
    }

    /// The plan, if it is the one that was sealed, to the bit.
    pub(crate) fn open<'a>(&self, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (plan, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
        hmac::verify(&self.key(), plan, tag).ok().map(|()| plan)
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.secret)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as the same bytes wherever and whenever it is written: fields in the order of their names.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let mut names: Vec<&String> = fields.keys().collect();
                names.sort_unstable();
                Value::Object(names.into_iter().map(|name| (name.clone(), sorted(&fields[name]))).collect())
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    sorted(value).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_opens_what_it_sealed_and_nothing_that_was_altered() {
        let token = Token::read(&Token::new().expose()).unwrap();
        let sealed = token.seal(b"the plan".to_vec());
        assert_eq!(token.open(&sealed), Some(&b"the plan"[..]));
        assert_eq!(Token::new().open(&sealed), None, "another token");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(token.open(&altered), None, "byte {at}");
        }
        for short in [0, 1, TAG - 1, TAG] {
            assert_eq!(token.open(&sealed[..short]), None);
        }
    }

    #[test]
    fn what_a_plan_is_kept_under_is_not_its_token() {
        let token = Token::new();
        assert!(!token.expose().contains(&token.name()));
        assert_eq!(format!("{token:?}"), "Token");
        for text in ["", "plan-", "plan-AAAA", "AAAA", &token.expose()[1..], &format!("{}A", token.expose())]
        {
            assert_eq!(Token::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_order_of_fields_makes_no_other_bytes() {
        let one: Value = serde_json::from_str(r#"{"b": [{"y": 1, "x": 2}], "a": null}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"a": null, "b": [{"x": 2, "y": 1}]}"#).unwrap();
        assert_eq!(canonical(&one), canonical(&other));
        assert_ne!(canonical(&one), canonical(&json!({"a": null, "b": [{"x": 2, "y": 1.5}]})));
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
