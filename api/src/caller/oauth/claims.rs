//! What a verified token says, and for whom that makes its bearer.

use crate::caller::{Principal, Proof};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// What a token has to say.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) groups_claim: Option<String>,
}

/// Why what a token says is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not what the claims of a token are.
    #[error("its claims are no JSON object with `iss`, `sub`, `aud` and `exp`")]
    Form,
    /// Another authorization server's.
    #[error("it is of another authorization server (`iss`)")]
    Issuer,
    /// For somebody else.
    #[error("it is not for this resource (`aud`)")]
    Audience,
    /// Too late.
    #[error("it has expired (`exp`)")]
    Expired,
    /// Too early.
    #[error("it is not good yet (`nbf`)")]
    Early,
    /// Nobody's.
    #[error("its `sub` is no name: 1 to {LONGEST_SUBJECT} visible ASCII characters")]
    Subject,
    /// Groups that cannot be such.
    #[error("its groups are no list of at most {MOST_GROUPS} names")]
    Groups,
    /// A scope is missing.
    #[error("it does not have all scopes that are needed here (`scope`)")]
    Scope,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    /// Seconds since 1970, which may have a fraction (RFC 7519 §2).
    exp: f64,
    nbf: Option<f64>,
    scope: Option<Names>,
    /// Where Microsoft and Okta write it.
    scp: Option<Names>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    /// Between spaces.
    Text(String),
    List(Vec<String>),
}

/// Clocks differ.
const LEEWAY: u64 = 60;
/// OpenID Connect Core §2.
const LONGEST_SUBJECT: usize = 255;
/// Each becomes part of a question to the Kubernetes API.
const MOST_GROUPS: usize = 200;
const LONGEST_GROUP: usize = 256;

/// Put before the subject of a token; before it is [`Principal::OTHERS`], so that none can pass for a user of
/// Kubernetes. No identity of the mesh has a colon so near its beginning.
const USERS: &str = "oauth:";
/// Put before a group.
const GROUPS: &str = "oauth-groups:";

/// Who brings a token with these claims, at this second since 1970.
///
/// The groups are those of the claim and no other. `system:authenticated` is not among them: what a cluster gives to all
/// whom its own API server knows was not meant for all whom an authorization server knows.
pub(crate) fn principal(claims: &[u8], expected: &Expected, now: u64) -> Result<Principal, Fault> {
    let claims: Claims = serde_json::from_slice(claims).map_err(|_| Fault::Form)?;
    if claims.iss != expected.issuer {
        return Err(Fault::Issuer);
    }
    let ours = match &claims.aud {
        Audience::One(audience) => *audience == expected.audience,
        Audience::Several(all) => all.contains(&expected.audience),
    };
    if !ours {
        return Err(Fault::Audience);
    }
    #[expect(clippy::cast_precision_loss, reason = "exact for the next 285 million years")]
    let (earliest, latest) = (now.saturating_sub(LEEWAY) as f64, (now + LEEWAY) as f64);
    if claims.exp <= earliest {
        return Err(Fault::Expired);
    }
    if claims.nbf.is_some_and(|nbf| nbf > latest) {
        return Err(Fault::Early);
    }
    let subject = &claims.sub;
    if subject.is_empty()
        || subject.len() > LONGEST_SUBJECT
        || !subject.bytes().all(|it| it.is_ascii_graphic())
    {
        return Err(Fault::Subject);
    }
    let granted: Vec<&str> =
        [&claims.scope, &claims.scp].into_iter().flatten().flat_map(Names::all).collect();
    if !expected.scopes.iter().all(|it| granted.contains(&it.as_str())) {
        return Err(Fault::Scope);
    }
    let groups = match &expected.groups_claim {
        Some(claim) => groups(claims.others.get(claim))?,
        None => Vec::new(),
    };
    let identity = format!("{}#{subject}", claims.iss);
    Ok(Principal {
        user: format!("{}{USERS}{identity}", Principal::OTHERS).into(),
        groups: groups.into(),
        identity: identity.into(),
        proof: Proof::OAuth,
    })
}

/// Whoever is in no group may be without the claim. What cannot be read is refused, not left out: somebody who misses
/// rights should be told why.
fn groups(claim: Option<&Value>) -> Result<Vec<Arc<str>>, Fault> {
    let names: Vec<&str> = match claim {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(all)) if all.len() <= MOST_GROUPS => {
            all.iter().map(|it| it.as_str().ok_or(Fault::Groups)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Fault::Groups),
    };
    let fits = |name: &str| (1..=LONGEST_GROUP).contains(&name.len()) && !name.chars().any(char::is_control);
    let named = |name: &str| Arc::from(format!("{}{GROUPS}{name}", Principal::OTHERS));
    names.into_iter().map(|name| if fits(name) { Ok(named(name)) } else { Err(Fault::Groups) }).collect()
}

// === impl Names ===

impl Names {
    fn all(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => text.split(' ').filter(|it| !it.is_empty()).collect(),
            Self::List(names) => names.iter().map(String::as_str).collect(),
        }
    }
}
