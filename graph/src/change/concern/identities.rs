//! Identities that are likely not meant: of another trust domain, of nobody, or of everybody.

use super::{Concern, Scene, Severity, id_of};
use crate::{kind::Kind, policy::lint::Code};
use serde_json::Value;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Concern> {
    let of_lint = scene.findings.iter().filter_map(|finding| {
        let code = match finding.code {
            Code::WrongTrustDomain => "wrong-trust-domain",
            Code::UnknownIdentity => "unknown-identity",
            _ => return None,
        };
        scene.edit_of(finding)?;
        Some(Concern::of_finding(code, Severity::Warn, finding))
    });
    let any = scene.put().filter(|(_, object)| object.kind == Kind::MeshTLSAuthentication).filter_map(
        |(_, object)| {
            let identities = object.spec.get("identities").and_then(Value::as_array)?;
            identities.iter().any(|identity| identity.as_str() == Some("*")).then(|| {
                let id = id_of(object);
                let text = format!(
                    "{id} lists `*`: every mesh client with a DNS identity, of every namespace and of every cluster with \
                     the same trust roots. Name the ServiceAccounts in identityRefs instead."
                );
                Concern::warn("any-identity", [id], text)
            })
        },
    );
    of_lint.chain(any).collect()
}
