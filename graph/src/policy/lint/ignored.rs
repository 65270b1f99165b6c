//! Objects that Linkerd does as if they were not there, and what that leads to.

use super::{
    Code, Finding, Severity, rejected_route,
    scene::{Scene, id_of, kind_of},
    words,
};
use crate::{
    fact::Key,
    id::PolicyId,
    kind::Kind,
    policy::{
        DefaultPolicy,
        policies::Ignored,
        spec::{AuthorizationPolicySpec, Fault, Required, ServerSpec},
    },
};
use std::{collections::BTreeMap, error::Error};

/// Keys of authentications by kind and name: a reference often only lacks the namespace.
type ByName<'a> = BTreeMap<(Kind, &'a str), Vec<&'a Key>>;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Finding> {
    let by_name = by_name(scene);
    let ignored = scene.ignored().filter(|ignored| !rejected_route::is_about(&ignored.id, &ignored.fault));
    ignored.map(|ignored| finding(scene, &by_name, ignored)).chain(access_policies(scene)).collect()
}

fn by_name<'a>(scene: &Scene<'a>) -> ByName<'a> {
    let mut by_name = ByName::new();
    for kind in [Kind::MeshTLSAuthentication, Kind::NetworkAuthentication] {
        for object in scene.mesh.policies.objects().all(kind) {
            by_name.entry((kind, &*object.key.name)).or_default().push(&object.key);
        }
    }
    by_name
}

fn finding(scene: &Scene<'_>, by_name: &ByName<'_>, ignored: &Ignored) -> Finding {
    let Ignored { id, fault } = ignored;
    let (missing, why) = match fault {
        Fault::Missing(_) => missing(scene, by_name, id),
        fault => (Vec::new(), words::end(why(fault))),
    };
    let objects = [id.to_string()].into_iter().chain(missing);
    let text = format!("Linkerd ignores {id}: {why} {}{}", consequence(id), older(fault));
    Finding::new(Code::Ignored, objects, text, fix(id, fault))
}

/// The fault as a part of a sentence.
pub(super) fn why(fault: &Fault) -> String {
    match (fault, fault.source()) {
        (Fault::Shape(_), Some(source)) => format!("{fault} ({source})"),
        _ => fault.to_string(),
    }
}

/// What comes of it that the object is not there.
fn consequence(id: &PolicyId) -> &'static str {
    match kind_of(id) {
        Some(Kind::Server) => {
            "The ports it is for fall to another Server or to the default policy, which may be more open."
        }
        Some(Kind::AuthorizationPolicy | Kind::ServerAuthorization) => "It lets nobody in.",
        Some(Kind::MeshTLSAuthentication | Kind::NetworkAuthentication) => {
            "AuthorizationPolicies that refer to it are ignored with it."
        }
        Some(Kind::HTTPLocalRateLimitPolicy) => "It limits nothing.",
        _ => "It takes no requests, and AuthorizationPolicies on it do nothing.",
    }
}

/// An update that makes an object unusable is skipped; references are looked up anew each time.
pub(super) fn older(fault: &Fault) -> &'static str {
    match fault {
        Fault::Missing(_) | Fault::Twice(_) => "",
        _ => {
            " If it was usable before its last change, that older version stays in force until Linkerd's policy controller restarts."
        }
    }
}

/// The references of an AuthorizationPolicy that lead nowhere, and a sentence on each.
fn missing(scene: &Scene<'_>, by_name: &ByName<'_>, id: &PolicyId) -> (Vec<String>, String) {
    let key = Key::new(id.namespace(), id.name());
    let spec = scene
        .object(Kind::AuthorizationPolicy, &key)
        .and_then(|object| AuthorizationPolicySpec::read(&object.spec, &key.namespace).ok());
    let required = spec.map(|spec| spec.required).unwrap_or_default();
    let (mut ids, mut sentences) = (Vec::new(), Vec::new());
    for reference in &required {
        let (kind, key) = match reference {
            Required::MeshTls(key) => (Kind::MeshTLSAuthentication, key),
            Required::Network(key) => (Kind::NetworkAuthentication, key),
            Required::ServiceAccount(_) => continue,
        };
        let id = PolicyId::new(kind.policy_prefix(), &key.namespace, &key.name);
        let sentence = match (scene.object(kind, key), scene.fault(&id)) {
            (Some(_), None) => continue,
            (Some(_), Some(_)) => format!("{id}, which it refers to, is ignored itself."),
            (None, _) => {
                let elsewhere = by_name.get(&(kind, &*key.name)).map(Vec::as_slice).unwrap_or_default();
                let hint = match elsewhere {
                    [] => scene.near(scene.names(kind, &key.namespace), &key.name),
                    there => format!(
                        "; one of that name is in namespace {}",
                        words::joined(there.iter().map(|key| &key.namespace), "and in")
                    ),
                };
                words::end(format!("{id}, which it refers to, does not exist{hint}"))
            }
        };
        ids.push(id.to_string());
        sentences.push(sentence);
    }
    (ids, sentences.join(" "))
}

fn fix(id: &PolicyId, fault: &Fault) -> String {
    let name = kind_of(id).map_or("object", |kind| kind.row().name);
    match fault {
        Fault::Shape(_) => format!("Write the spec as the schema of {name} says, and apply it again."),
        Fault::NoSelector => {
            "Add a podSelector or an externalWorkloadSelector; an empty one selects everything in the namespace.".into()
        }
        Fault::NoClient => {
            "Set client.unauthenticated, or client.meshTLS with identities, serviceAccounts or unauthenticatedTLS.".into()
        }
        Fault::NoIdentity => "List identities or identityRefs, or delete it.".into(),
        Fault::NoNetwork => "List networks, or delete it.".into(),
        Fault::Network(_) => "Write each network as an IP address or as address/prefix length.".into(),
        Fault::Kind(_) => "Refer to kinds and groups that Linkerd knows there.".into(),
        Fault::Missing(_) => {
            "Create what it refers to, or correct name and namespace of the reference; without a namespace its own is meant."
                .into()
        }
        Fault::Twice(_) => {
            "Keep one of the references, or write a policy for each: references of one policy must all hold, policies add up."
                .into()
        }
        _ => "Correct the spec and apply it again.".into(),
    }
}

/// Servers whose accessPolicy is a word that means nothing.
fn access_policies(scene: &Scene<'_>) -> Vec<Finding> {
    let odd = |server: &super::scene::Seen<'_>| {
        let text = server.policy.spec.access_policy.as_ref()?;
        let error = text.parse::<DefaultPolicy>().err()?;
        let text = format!(
            "Linkerd ignores the accessPolicy of {}: {error}. It counts as deny, so only authorizations let clients in.",
            server.id
        );
        Some(Finding::new(
            Code::Ignored,
            [&server.id],
            text,
            "Write one of these words, or leave accessPolicy out.",
        ))
    };
    scene.servers.iter().filter_map(odd).map(|finding| finding.with(Severity::Error)).collect()
}

/// True for Servers that are there and cannot be read.
pub(super) fn is_unreadable_server(scene: &Scene<'_>, key: &Key) -> Option<PolicyId> {
    let object = scene.object(Kind::Server, key)?;
    ServerSpec::read(&object.spec).is_err().then(|| id_of(object))
}
