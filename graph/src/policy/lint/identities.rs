//! Identities in policies that no workload of the cluster presents: of another trust domain, or of nobody.

use super::{
    Code, Finding, Severity,
    scene::{Scene, id_of},
    words,
};
use crate::{
    fact::PolicyObject,
    id::{PolicyId, Text},
    kind::Kind,
    policy::{PolicyCluster, spec::AuthorizationPolicySpec},
};
use ahash::{AHashMap, AHashSet};
use serde_json::Value;
use std::{cell::OnceCell, sync::Arc};

/// What stands between the ServiceAccount and the control plane in identities of Linkerd's own form.
const MARK: &str = ".serviceaccount.identity.";

/// Who there is.
struct Known<'a> {
    cluster: &'a PolicyCluster,
    /// The control plane's settings were read, not assumed.
    certain: bool,
    /// Identities that meshed workloads present.
    presented: AHashSet<&'a str>,
    /// Everything that such an identity ends with, from a dot on; read when the first policy names an ending.
    endings: OnceCell<AHashSet<&'a str>>,
    /// ServiceAccounts that workloads run as, and whether any of these is meshed.
    accounts: AHashMap<(&'a str, &'a str), bool>,
    /// The names among them, by namespace.
    names: AHashMap<&'a str, Vec<&'a str>>,
}

/// What is odd about one identity of an object.
enum Odd {
    /// Its ending is another cluster's.
    TrustDomain(String),
    /// Nobody presents it, and why.
    Unknown(String),
}

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let known = OnceCell::new();
    let kinds = [
        Kind::MeshTLSAuthentication,
        Kind::ServerAuthorization,
        Kind::AuthorizationPolicy,
        Kind::HTTPLocalRateLimitPolicy,
    ];
    let objects = kinds.into_iter().flat_map(|kind| scene.objects(kind));
    objects
        .filter(|object| scene.fault(&id_of(object)).is_none())
        .flat_map(|object| findings(scene, known.get_or_init(|| known_by(scene)), object))
        .collect()
}

fn known_by<'a>(scene: &Scene<'a>) -> Known<'a> {
    let graph = scene.mesh.graph;
    let policies: &'a crate::policy::Policies = scene.mesh.policies;
    let mut known = Known {
        cluster: policies.cluster(),
        certain: graph.cluster.is_some(),
        presented: AHashSet::new(),
        endings: OnceCell::new(),
        accounts: AHashMap::new(),
        names: AHashMap::new(),
    };
    for (id, workload) in &graph.workloads {
        known.presented.extend(workload.identity.as_deref());
        if id.kind() == "externalworkload" {
            continue;
        }
        let account = match &*workload.service_account {
            "" => "default",
            account => account,
        };
        let of_namespace = known.names.entry(id.namespace()).or_default();
        let meshed = known.accounts.entry((id.namespace(), account)).or_insert_with(|| {
            of_namespace.push(account);
            false
        });
        // Manifests are often written without the proxy that the injector adds.
        let labelled =
            || workload.templates.iter().any(|it| it.labels.contains_key("linkerd.io/control-plane-ns"));
        *meshed |= workload.identity.is_some() || labelled();
    }
    known
}

fn findings(scene: &Scene<'_>, known: &Known<'_>, object: &Arc<PolicyObject>) -> Vec<Finding> {
    let id = id_of(object);
    let odd: Vec<Odd> = match object.kind {
        Kind::AuthorizationPolicy => required_accounts(object)
            .iter()
            .filter_map(|(namespace, name)| known.account(scene, namespace, name))
            .collect(),
        _ => mentioned(object).filter_map(|who| known.odd(scene, &object.key.namespace, who)).collect(),
    };
    let (mut domains, mut unknown) = (Vec::new(), Vec::new());
    for odd in odd {
        match odd {
            Odd::TrustDomain(text) => domains.push(text),
            Odd::Unknown(text) => unknown.push(text),
        }
    }
    let mut findings = Vec::new();
    if !domains.is_empty() {
        findings.push(wrong_domain(known, &id, &domains));
    }
    if !unknown.is_empty() {
        let text = format!("{id} names clients that no meshed workload is: {}.", words::some(&unknown));
        let fix = "Check the names; clients outside this cluster (ExternalWorkloads yet to come, other clusters with the same trust domain) are not known here.";
        findings.push(Finding::new(Code::UnknownIdentity, [&id], text, fix));
    }
    findings
}

fn wrong_domain(known: &Known<'_>, id: &PolicyId, identities: &[String]) -> Finding {
    let own = known.ending();
    let (assumed, severity) = match known.certain {
        true => ("", Severity::Warning),
        false => (" (assumed: the control plane's settings could not be read)", Severity::Info),
    };
    let text = format!(
        "{id} names identities of another trust domain or control-plane namespace: {}. Those of this cluster end in {own}{assumed}.",
        words::some(identities)
    );
    let fix = format!(
        "Write ….serviceaccount.identity.{own}, or refer to the ServiceAccount in identityRefs; keep it if clients of another cluster are meant."
    );
    Finding::new(Code::WrongTrustDomain, [id], text, fix).with(severity)
}

/// Somebody that an object names.
enum Who<'a> {
    Identity(&'a str),
    Account { namespace: Option<&'a str>, name: &'a str },
    Namespace(&'a str),
}

/// The ServiceAccounts that an AuthorizationPolicy requires by itself.
fn required_accounts(object: &PolicyObject) -> Vec<(Text, Text)> {
    use crate::policy::spec::Required;
    let spec = AuthorizationPolicySpec::read(&object.spec, &object.key.namespace);
    let required = spec.map(|spec| spec.required).unwrap_or_default();
    let accounts = required.into_iter().filter_map(|required| match required {
        Required::ServiceAccount(key) => Some((key.namespace, key.name)),
        Required::MeshTls(_) | Required::Network(_) => None,
    });
    accounts.collect()
}

/// Whom a readable object of another kind names.
fn mentioned(object: &PolicyObject) -> impl Iterator<Item = Who<'_>> {
    let mesh_tls = object.spec.pointer("/client/meshTLS");
    let identities = list(Some(&object.spec), "identities").chain(list(mesh_tls, "identities"));
    let identities = identities.filter_map(Value::as_str).map(Who::Identity);
    let overrides = list(Some(&object.spec), "overrides").flat_map(|limit| list(Some(limit), "clientRefs"));
    let references = list(Some(&object.spec), "identityRefs").chain(overrides).filter_map(|to| {
        let name = text(to, "name")?;
        match text(to, "kind")?.eq_ignore_ascii_case("Namespace") {
            true => Some(Who::Namespace(name)),
            false => Some(Who::Account { namespace: text(to, "namespace"), name }),
        }
    });
    let accounts = list(mesh_tls, "serviceAccounts")
        .filter_map(|to| Some(Who::Account { namespace: text(to, "namespace"), name: text(to, "name")? }));
    identities.chain(references).chain(accounts)
}

fn list<'a>(value: Option<&'a Value>, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.and_then(|value| value.get(field)).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

// === impl Known ===

impl<'a> Known<'a> {
    /// What identities of this cluster end in.
    fn ending(&self) -> String {
        format!("{}.{}", self.cluster.control_plane_namespace, self.cluster.identity_domain)
    }

    fn endings(&self) -> &AHashSet<&str> {
        self.endings.get_or_init(|| {
            let of = |identity: &&'a str| {
                let identity = *identity;
                identity.match_indices('.').map(move |(at, _)| &identity[at..])
            };
            self.presented.iter().flat_map(of).collect()
        })
    }

    fn odd(&self, scene: &Scene<'_>, namespace: &str, who: Who<'_>) -> Option<Odd> {
        match who {
            Who::Identity(identity) => self.identity(scene, identity),
            Who::Account { namespace: own, name } => self.account(scene, own.unwrap_or(namespace), name),
            Who::Namespace(name) => {
                let meshed = self.names.get(name).into_iter().flatten();
                let mut meshed =
                    meshed.filter(|account| self.accounts.get(&(name, **account)) == Some(&true));
                meshed
                    .next()
                    .is_none()
                    .then(|| Odd::Unknown(format!("namespace {name} (no meshed workload is there)")))
            }
        }
    }

    fn identity(&self, scene: &Scene<'_>, identity: &str) -> Option<Odd> {
        if identity == "*" || self.presented.contains(identity) {
            return None;
        }
        let suffix = identity.strip_prefix('*').filter(|rest| rest.starts_with('.'));
        if suffix.is_some_and(|suffix| self.endings().contains(suffix)) {
            return None;
        }
        if let Some((subject, ending)) = identity.split_once(MARK) {
            if ending != self.ending() {
                return Some(Odd::TrustDomain(identity.to_owned()));
            }
            return match (suffix, subject.rsplit_once('.')) {
                (None, Some((name, namespace))) => self.account(scene, namespace, name),
                _ => Some(Odd::Unknown(identity.to_owned())),
            };
        }
        let is_spiffe = identity.contains("://");
        let hint = if is_spiffe || suffix.is_some() {
            String::new()
        } else {
            format!(" (identities look like <serviceaccount>.<namespace>{MARK}{})", self.ending())
        };
        Some(Odd::Unknown(format!("{identity}{hint}")))
    }

    fn account(&self, scene: &Scene<'_>, namespace: &str, name: &str) -> Option<Odd> {
        let why = match self.accounts.get(&(namespace, name)) {
            Some(true) => return None,
            Some(false) => "the workloads that run as it are not meshed".to_owned(),
            None => match self.names.get(namespace) {
                None => format!("namespace {namespace} has no pods"),
                Some(names) => {
                    let near = scene.near(names.iter().copied(), name);
                    format!("no workload runs as it{}", near.trim_end_matches('?'))
                }
            },
        };
        Some(Odd::Unknown(format!("ServiceAccount {namespace}/{name} ({why})")))
    }
}
