//! The trust roots of the mesh, which callers' certificates are verified against.

use super::{Check, Verdict, known, seen::Seen};

/// Below so many days Linkerd's own check warns too.
const SOON_DAYS: i64 = 60;
const DAY: i64 = 86_400;

/// The trust roots.
pub(super) const CHECKS: &[Check] =
    &[Check::new("Linkerd trust roots are valid", "mcp-trust-roots", trust_roots)];

fn trust_roots(seen: &Seen) -> Verdict {
    let roots = match known(&seen.trust_roots) {
        Ok(Some(roots)) => roots,
        Ok(None) => {
            return Verdict::Warning(format!(
                "there is no ConfigMap linkerd-identity-trust-roots in Namespace {}, so nobody's certificate can be \
                 verified",
                seen.linkerd_namespace
            ));
        }
        Err(verdict) => return verdict,
    };
    if roots.is_empty() {
        return Verdict::Error(
            "the ConfigMap linkerd-identity-trust-roots has no certificate that can be read in ca-bundle.crt"
                .to_owned(),
        );
    }
    let valid =
        |root: &&super::seen::TrustRoot| root.not_before_s <= seen.now_s && seen.now_s < root.not_after_s;
    // During a rotation there are several, and one that is good is enough.
    let Some(last) = roots.iter().filter(valid).max_by_key(|root| root.not_after_s) else {
        let names: Vec<String> = roots.iter().map(|root| root.subject.clone()).collect();
        return Verdict::Error(format!("expired or not valid yet: {}", super::named(&names)));
    };
    match (last.not_after_s - seen.now_s) / DAY {
        days if days < SOON_DAYS => Verdict::Warning(format!(
            "{} expires in {days} days, and no other is valid for longer",
            last.subject
        )),
        _ => Verdict::Fine,
    }
}
