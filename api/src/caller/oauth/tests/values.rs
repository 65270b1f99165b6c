//! What a token may say, and what no key and no token may get away with.

use super::{
    super::{
        claims::{self, Expected},
        jwt,
        keys::{self, Keys},
    },
    AUDIENCE,
    issuer::{Key, part},
};
use crate::caller::{Principal, Proof};
use serde_json::{Value, json};

const ISSUER: &str = "https://login.example";
const NOW: u64 = 1_800_000_000;

fn expected() -> Expected {
    Expected {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        scopes: vec!["mesh:read".to_owned()],
        groups_claim: Some("groups".to_owned()),
    }
}

fn good() -> Value {
    json!({
        "iss": ISSUER, "sub": "ann", "aud": AUDIENCE, "exp": NOW + 60, "nbf": NOW - 60, "iat": NOW - 60,
        "scope": "openid mesh:read", "groups": ["sre", "system:masters"],
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn ann(groups: &[&str]) -> Principal {
    Principal {
        user: "linkerd-mcp:oauth:https://login.example#ann".into(),
        groups: groups.iter().map(|it| (*it).into()).collect(),
        identity: "https://login.example#ann".into(),
        proof: Proof::OAuth,
    }
}

fn judged(claims: &Value) -> Result<Principal, claims::Fault> {
    claims::principal(claims.to_string().as_bytes(), &expected(), NOW)
}

fn keys(all: &[Value]) -> Keys {
    Keys::read(json!({"keys": all}).to_string().as_bytes()).unwrap()
}

fn verified(token: &str, keys: &Keys) -> Result<Value, jwt::Fault> {
    let signed = jwt::parse(token)?;
    let claims = jwt::verify(&signed, keys)?;
    Ok(serde_json::from_slice(claims).unwrap())
}

#[test]
fn the_bearer_of_a_good_token_is_a_user_who_can_be_no_other() {
    let groups = ["linkerd-mcp:oauth-groups:sre", "linkerd-mcp:oauth-groups:system:masters"];
    assert_eq!(judged(&good()), Ok(ann(&groups)));
    let without = Expected { groups_claim: None, ..expected() };
    assert_eq!(claims::principal(good().to_string().as_bytes(), &without, NOW), Ok(ann(&[])));
}

#[test]
fn each_claim_that_is_wrong_is_refused() {
    use claims::Fault::{Audience, Early, Expired, Form, Groups, Issuer, Scope, Subject};
    let many: Vec<String> = (0..201).map(|it| it.to_string()).collect();
    let cases = [
        ("iss", json!("https://login.example/"), Issuer),
        ("iss", json!("https://LOGIN.example"), Issuer),
        ("iss", json!(""), Issuer),
        ("iss", json!([ISSUER]), Form),
        ("iss", Value::Null, Form),
        ("aud", json!("https://mcp.example"), Audience),
        ("aud", json!("https://mcp.example/mcp/"), Audience),
        ("aud", json!([]), Audience),
        ("aud", json!(["https://other.example", "linkerd-mcp"]), Audience),
        ("aud", json!({"a": AUDIENCE}), Form),
        ("aud", Value::Null, Form),
        ("exp", json!(NOW - 60), Expired),
        ("exp", json!(0), Expired),
        ("exp", json!(-1), Expired),
        ("exp", json!((NOW + 60).to_string()), Form),
        ("exp", Value::Null, Form),
        ("nbf", json!(NOW + 61), Early),
        ("nbf", json!("now"), Form),
        ("sub", json!(""), Subject),
        ("sub", json!("ann\n"), Subject),
        ("sub", json!("ann smith"), Subject),
        ("sub", json!("\u{430}nn"), Subject),
        ("sub", json!("a".repeat(256)), Subject),
        ("sub", json!(7), Form),
        ("sub", Value::Null, Form),
        ("scope", json!("openid mesh:reader xmesh:read"), Scope),
        ("scope", json!("mesh:read,openid"), Scope),
        ("scope", json!(["openid"]), Scope),
        ("scope", Value::Null, Scope),
        ("scope", json!(1), Form),
        ("groups", json!([1]), Groups),
        ("groups", json!([""]), Groups),
        ("groups", json!(["a\nb"]), Groups),
        ("groups", json!(["a".repeat(257)]), Groups),
        ("groups", json!({"sre": true}), Groups),
        ("groups", json!(many), Groups),
    ];
    for (name, value, fault) in cases {
        assert_eq!(judged(&with(name, value.clone())), Err(fault), "{name} {value}");
    }
    let good = good().to_string();
    let twice = good.replacen('{', "{\"sub\":\"admin\",", 1);
    assert_eq!(claims::principal(twice.as_bytes(), &expected(), NOW), Err(Form), "two subjects");
    for text in ["", "null", "[]", "ann", &good[1..]] {
        assert_eq!(claims::principal(text.as_bytes(), &expected(), NOW), Err(Form), "{text}");
    }
}

#[test]
fn other_ways_to_say_the_same_are_accepted() {
    let groups = ["linkerd-mcp:oauth-groups:sre", "linkerd-mcp:oauth-groups:system:masters"];
    let mut listed = with("scope", Value::Null);
    listed["scp"] = json!(["mesh:read"]);
    let same = [
        with("aud", json!(["https://other.example", AUDIENCE])),
        with("exp", json!(NOW - 59)),
        with("exp", json!(1_800_000_000.5)),
        with("nbf", json!(NOW + 60)),
        with("nbf", Value::Null),
        with("scope", json!(["mesh:read"])),
        listed,
    ];
    for claims in same {
        assert_eq!(judged(&claims), Ok(ann(&groups)), "{claims}");
    }
    assert_eq!(judged(&with("groups", Value::Null)), Ok(ann(&[])));
    assert_eq!(judged(&with("groups", json!("sre"))), Ok(ann(&groups[..1])));
}

#[test]
fn only_a_key_of_the_issuer_signs_and_only_as_it_is_meant() {
    use jwt::Fault::{Algorithm, Header, NoJwt, NoKey, Signature, Type, UnknownKey};
    let (key, other) = (Key::new("a"), Key::new("a"));
    let keys = keys(&[key.public()]);
    let token = key.sign(&good());
    assert_eq!(verified(&token, &keys), Ok(good()));
    assert_eq!(verified(&other.sign(&good()), &keys), Err(Signature));
    let as_said = |header: Value| verified(&key.sign_as(&header, &good()), &keys);
    for typ in ["JWT", "jwt", "AT+JWT", "application/at+jwt"] {
        assert_eq!(as_said(json!({"alg": "ES256", "kid": "a", "typ": typ})), Ok(good()));
    }
    assert_eq!(as_said(json!({"alg": "ES256", "kid": "a"})), Ok(good()));
    let wrong = [
        (json!({"alg": "none", "kid": "a"}), Algorithm),
        (json!({"alg": "None", "kid": "a"}), Algorithm),
        (json!({"alg": "", "kid": "a"}), Algorithm),
        (json!({"alg": "HS256", "kid": "a"}), Algorithm),
        (json!({"alg": "ES384", "kid": "a"}), Algorithm),
        (json!({"alg": "PS256", "kid": "a"}), Algorithm),
        (json!({"alg": "EdDSA", "kid": "a"}), Algorithm),
        (json!({"alg": "es256", "kid": "a"}), Algorithm),
        // A key is of one algorithm, whatever the token says.
        (json!({"alg": "RS256", "kid": "a"}), UnknownKey),
        (json!({"alg": "ES256", "kid": "b"}), UnknownKey),
        (json!({"alg": "ES256", "kid": "A"}), UnknownKey),
        (json!({"alg": "ES256"}), NoKey),
        (json!({"alg": "ES256", "kid": ""}), NoKey),
        (json!({"alg": "ES256", "kid": "a".repeat(257)}), NoKey),
        (json!({"alg": "ES256", "kid": 1}), Header),
        (json!({"alg": ["ES256"], "kid": "a"}), Header),
        (json!({"kid": "a"}), Header),
        (json!([]), Header),
        (json!({"alg": "ES256", "kid": "a", "crit": ["exp"]}), Header),
        (json!({"alg": "ES256", "kid": "a", "b64": false}), Header),
        (json!({"alg": "ES256", "kid": "a", "typ": "dpop+jwt"}), Type),
        (json!({"alg": "ES256", "kid": "a", "typ": "logout+jwt"}), Type),
        (json!({"alg": "ES256", "kid": "c", "jwk": key.public()}), UnknownKey),
    ];
    for (header, fault) in wrong {
        assert_eq!(as_said(header.clone()), Err(fault), "{header}");
    }
    let parts: Vec<&str> = token.split('.').collect();
    let forged = part(with("sub", json!("admin")).to_string());
    let none = part(json!({"alg": "none", "kid": "a"}).to_string());
    for (token, fault) in [
        (format!("{}.{forged}.{}", parts[0], parts[2]), Signature),
        (format!("{}.{}.", parts[0], parts[1]), Signature),
        (format!("{}.{}.{}", parts[0], parts[1], part([0; 64])), Signature),
        (format!("{none}.{}.", parts[1]), Algorithm),
        (format!("{}.{}", parts[0], parts[1]), NoJwt),
        (format!("{token}.{token}"), NoJwt),
        (format!("{}=.{}.{}", parts[0], parts[1], parts[2]), NoJwt),
        ("opaque".to_owned(), NoJwt),
        ("..".to_owned(), Header),
    ] {
        assert_eq!(verified(&token, &keys), Err(fault), "{token}");
    }
}

#[test]
fn rsa_signs_too_with_keys_that_are_long_enough() {
    let file: Value = serde_json::from_str(include_str!("rsa.json")).unwrap();
    let text = |name: &str| file[name].as_str().unwrap();
    let rsa = |n: &str| json!({"kty": "RSA", "kid": "rsa", "use": "sig", "n": n, "e": "AQAB"});
    let long = keys(&[rsa(text("n"))]);
    let claims = verified(text("token"), &long).unwrap();
    assert_eq!(judged(&claims), Ok(ann(&["linkerd-mcp:oauth-groups:sre"])));
    assert_eq!(verified(text("token"), &keys(&[rsa(text("short_n"))])), Err(jwt::Fault::Signature));
    assert_eq!(verified(text("short_token"), &keys(&[rsa(text("short_n"))])), Err(jwt::Fault::Signature));
    // The public key as the secret of an HMAC, which is how libraries were fooled.
    let header = part(json!({"alg": "HS256", "kid": "rsa", "typ": "JWT"}).to_string());
    let signed = format!("{header}.{}", part(good().to_string()));
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, text("n").as_bytes());
    let signature = ring::hmac::sign(&secret, signed.as_bytes());
    assert_eq!(verified(&format!("{signed}.{}", part(signature)), &long), Err(jwt::Fault::Algorithm));
    // Two keys of one name: whichever fits.
    let both = keys(&[Key::new("rsa").public(), rsa(text("short_n")), rsa(text("n"))]);
    assert!(verified(text("token"), &both).is_ok());
}

#[test]
fn keys_for_something_else_are_passed_over_and_sets_are_bounded() {
    let key = Key::new("a");
    let other = |name: &str, value: Value| {
        let mut key = key.public();
        key[name] = value;
        key
    };
    let passed = [
        other("use", json!("enc")),
        other("alg", json!("ES384")),
        other("alg", json!("RS256")),
        other("crv", json!("P-384")),
        other("kty", json!("oct")),
        other("kid", Value::Null),
        other("key_ops", json!(["sign"])),
        other("x", json!("AA")),
        other("y", json!("?")),
        json!("key"),
    ];
    let read = |all: &[Value]| Keys::read(json!({"keys": all}).to_string().as_bytes());
    for key in &passed {
        assert_eq!(read(std::slice::from_ref(key)), Err(keys::Fault::NoneOfUse), "{key}");
    }
    let mut all = passed.to_vec();
    all.push(other("key_ops", json!(["verify"])));
    assert_eq!(verified(&key.sign(&good()), &read(&all).unwrap()), Ok(good()));
    assert_eq!(read(&vec![key.public(); 101]), Err(keys::Fault::TooMany));
    for text in ["", "[]", "{}", "{\"keys\": 1}", "<html>"] {
        assert_eq!(Keys::read(text.as_bytes()), Err(keys::Fault::NoKeys), "{text}");
    }
}
