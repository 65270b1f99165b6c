//! The codes of findings: one row each.

use super::Severity;
use serde::{Serialize, Serializer};
use std::fmt;

/// What kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "CODES says what each means")]
pub enum Code {
    Ignored,
    SelectsNothing,
    Shadowed,
    RejectedRoute,
    NoDifference,
    OpenPort,
    NotEnforced,
    ProbeLockedOut,
    ScrapeLockedOut,
    WrongTrustDomain,
    UnknownIdentity,
    Mixed,
    BadAnnotation,
}

/// One row of [`CODES`].
#[derive(Debug, Clone, Copy)]
pub struct CodeRow {
    /// The code.
    pub code: Code,
    /// Its name, in kebab case.
    pub name: &'static str,
    /// How grave it usually is; a finding may say otherwise.
    pub severity: Severity,
    /// What it means, as a sentence.
    pub meaning: &'static str,
    /// What to do, as a sentence.
    pub fix: &'static str,
}

const fn row(
    code: Code,
    name: &'static str,
    severity: Severity,
    meaning: &'static str,
    fix: &'static str,
) -> CodeRow {
    CodeRow { code, name, severity, meaning, fix }
}

/// Every code.
pub const CODES: &[CodeRow] = &[
    row(
        Code::Ignored,
        "ignored",
        Severity::Error,
        "Linkerd acts as if the object (or a field of it) were not there: its spec cannot be read, it names nobody, or something it refers to is missing.",
        "Correct the spec, or create what it refers to.",
    ),
    row(
        Code::SelectsNothing,
        "selects-nothing",
        Severity::Warning,
        "The object reaches nothing: no port, no Server, no route, or no policy that refers to it. An error when a name in it stands for nothing, info for an authentication nobody uses.",
        "Correct the selector or the name, or delete the object.",
    ),
    row(
        Code::Shadowed,
        "shadowed",
        Severity::Error,
        "An older object of its kind has its ports (a Server) or its Server (a rate limit). A warning when it keeps some.",
        "Narrow one of the two, or delete the one that is not meant.",
    ),
    row(
        Code::RejectedRoute,
        "rejected-route",
        Severity::Error,
        "A route names a Server and is not in force there, so AuthorizationPolicies on it do nothing; or it makes the proxy refuse everything on the port.",
        "Write the route so that Linkerd takes it, on a Server of a protocol that fits.",
    ),
    row(
        Code::NoDifference,
        "no-difference",
        Severity::Warning,
        "Taking the authorization away would change nothing: others let in every client that it lets in, wherever it holds.",
        "Delete it, or narrow the one that makes it needless.",
    ),
    row(
        Code::OpenPort,
        "open-port",
        Severity::Warning,
        "Clients without a mesh identity are let in from everywhere or from all of the cluster. Info when only the default policy is the reason.",
        "Put a Server on the port and authorize its clients, or set another default policy.",
    ),
    row(
        Code::NotEnforced,
        "not-enforced",
        Severity::Warning,
        "A policy is meant for calls that no proxy judges by it: the pods have no proxy, the port bypasses it, or the protocol has no such policy.",
        "Mesh the pods, take the port out of skip-inbound-ports, or delete the policy.",
    ),
    row(
        Code::ProbeLockedOut,
        "probe-locked-out",
        Severity::Error,
        "The kubelet's HTTP probe of a container is refused or answered with 404, so its pods do not become ready or are restarted.",
        "Add an HTTPRoute for the probe's path to the Server, and an AuthorizationPolicy on it for the kubelet's network.",
    ),
    row(
        Code::ScrapeLockedOut,
        "scrape-locked-out",
        Severity::Warning,
        "A Server selects the proxy's admin port and does not let Prometheus in, so the metrics of these pods are lost.",
        "Authorize the ServiceAccount of Prometheus on that Server, or take the admin port out of it.",
    ),
    row(
        Code::WrongTrustDomain,
        "wrong-trust-domain",
        Severity::Warning,
        "An identity ends in another trust domain or control-plane namespace than this cluster's, so no workload here presents it.",
        "Write the identity with this cluster's ending, or refer to the ServiceAccount instead.",
    ),
    row(
        Code::UnknownIdentity,
        "unknown-identity",
        Severity::Info,
        "No meshed workload presents an identity that is let in.",
        "Check the name, or take it out if the client is gone for good.",
    ),
    row(
        Code::Mixed,
        "mixed",
        Severity::Info,
        "Pods of one workload are judged differently, because their labels or annotations differ.",
        "Give all pods of the workload the same labels and annotations; restart those made from an older template.",
    ),
    row(
        Code::BadAnnotation,
        "bad-annotation",
        Severity::Warning,
        "An annotation that bears on policy cannot be read, so all of it is dropped.",
        "Correct the value in the pod template (or the namespace) and restart the pods.",
    ),
];

// === impl Code ===

impl Code {
    /// The code's row in [`CODES`].
    pub fn row(self) -> &'static CodeRow {
        CODES.iter().find(|row| row.code == self).expect("CODES has a row for every code")
    }

    /// Its name, in kebab case.
    pub fn as_str(self) -> &'static str {
        self.row().name
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
