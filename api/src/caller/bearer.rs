//! A bearer token, as a request brings it (RFC 6750). What it proves is decided elsewhere; its value is never logged.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header::AUTHORIZATION};

/// Tokens of ServiceAccounts are about 1 KiB, those of authorization servers with many claims a few.
const LONGEST: usize = 8 << 10;

/// What is wrong with an `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// More than one.
    #[error("there is more than one Authorization header")]
    Several,
    /// Another scheme, or something that is no token.
    #[error("the Authorization header is not `Bearer` and a token")]
    NoBearer,
    /// Longer than any token may be.
    #[error("the token is longer than {LONGEST} bytes")]
    TooLong,
}

/// The token of a request; none without an `Authorization` header.
///
/// # Errors
///
/// When there is such a header and it brings no token.
pub fn token(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault::Several);
    }
    let (scheme, token) = value.to_str().ok().and_then(|it| it.split_once(' ')).ok_or(Fault::NoBearer)?;
    if token.len() > LONGEST {
        return Err(Fault::TooLong);
    }
    let text = token.trim_end_matches('=');
    let of_token = |it: u8| it.is_ascii_alphanumeric() || b"-._~+/".contains(&it);
    if !scheme.eq_ignore_ascii_case("bearer") || text.is_empty() || !text.bytes().all(of_token) {
        return Err(Fault::NoBearer);
    }
    Ok(Some(token))
}

/// When the token says that it ends, in seconds since 1970; none when it does not say. Nothing is verified: this may
/// shorten how long a verdict is remembered, and never lengthens it.
pub(crate) fn expiry(token: &str) -> Option<u64> {
    let claims = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims.get("exp")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|it| (AUTHORIZATION, HeaderValue::from_str(it).unwrap())).collect()
    }

    #[test]
    fn a_token_comes_after_the_word_bearer_in_any_case() {
        for value in ["Bearer a.b-_~+/9==", "bearer a.b-_~+/9==", "BEARER a.b-_~+/9=="] {
            assert_eq!(token(&headers(&[value])), Ok(Some("a.b-_~+/9==")));
        }
        assert_eq!(token(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_is_no_single_token_is_none() {
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
        for (values, fault) in [
            (&["Bearer a", "Bearer a"][..], Fault::Several),
            (&["Bearer"], Fault::NoBearer),
            (&["Bearer "], Fault::NoBearer),
            (&["Bearer  a"], Fault::NoBearer),
            (&["Bearer a b"], Fault::NoBearer),
            (&["Bearer a,b"], Fault::NoBearer),
            (&["Bearer a=b"], Fault::NoBearer),
            (&["Bearer =="], Fault::NoBearer),
            (&["Basic YTpi"], Fault::NoBearer),
            (&["a"], Fault::NoBearer),
            (&[""], Fault::NoBearer),
            (&[&long], Fault::TooLong),
        ] {
            assert_eq!(token(&headers(values)), Err(fault), "{values:?}");
        }
    }

    #[test]
    fn the_end_of_a_token_is_read_where_it_says_one() {
        let token = |claims: &str| format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(expiry(&token(r#"{"exp":1700000000,"sub":"x"}"#)), Some(1_700_000_000));
        for other in [token("{}"), token(r#"{"exp":"soon"}"#), token("x"), "opaque".into(), "..".into()] {
            assert_eq!(expiry(&other), None, "{other}");
        }
    }
}
