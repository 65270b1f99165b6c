//! Who is let in by the ServerAuthorizations and AuthorizationPolicies of a namespace.

use super::{
    answer::{Authorization, Labels, Metadata},
    authentication,
    cluster::PolicyCluster,
    objects::Objects,
    policies::Ignored,
    spec::{AuthorizationPolicySpec, Fault, ServerAuthorizationSpec, Servers, Target},
};
use crate::{fact, fact::PolicyObject, id::Text, kind::Kind};
use std::sync::Arc;

/// The usable authorizations of one namespace, each with what it is about.
#[derive(Debug, Default)]
pub(super) struct Authorizations {
    server_authorizations: Vec<(Servers, Authorization)>,
    policies: Vec<(Target, Authorization)>,
}

// === impl Authorizations ===

impl Authorizations {
    /// Reads those of `namespace`; what Linkerd ignores goes to `ignored`.
    pub(super) fn read(
        objects: &Objects,
        cluster: &PolicyCluster,
        namespace: &str,
        ignored: &mut Vec<Ignored>,
    ) -> Self {
        let mut all = Self::default();
        for object in objects.policies(Kind::ServerAuthorization, namespace) {
            match server_authorization(object, cluster) {
                Ok(row) => all.server_authorizations.push(row),
                Err(fault) => ignored.push(Ignored::new(object, fault)),
            }
        }
        for object in objects.policies(Kind::AuthorizationPolicy, namespace) {
            match policy(object, objects, cluster) {
                Ok(row) => all.policies.push(row),
                Err(fault) => ignored.push(Ignored::new(object, fault)),
            }
        }
        all
    }

    /// Those on a Server: by its name, by its labels, or by its namespace.
    pub(super) fn on_server<'a>(
        &'a self,
        name: &'a str,
        labels: &'a fact::Labels,
    ) -> impl Iterator<Item = Authorization> + 'a {
        let by_server = self.server_authorizations.iter().filter(move |(servers, _)| match servers {
            Servers::Named(named) => **named == *name,
            Servers::Selected(selector) => selector.matches(labels),
        });
        let by_policy = self.policies.iter().filter(move |(target, _)| match target {
            Target::Server(named) => **named == *name,
            Target::Namespace => true,
            Target::Route(..) => false,
        });
        by_server.map(|(_, row)| row).chain(by_policy.map(|(_, row)| row)).cloned()
    }

    /// Those on a route, in the order of their metadata.
    pub(super) fn on_route(&self, kind: Kind, name: &str) -> Arc<[Authorization]> {
        let of_route = |target: &Target| matches!(target, Target::Route(on, named) if *on == kind && named.eq_ignore_ascii_case(name));
        in_order(self.policies.iter().filter(|(target, _)| of_route(target)).map(|(_, row)| row.clone()))
    }
}

/// Sorts by metadata, as recordings do: the controller itself sends them in no order.
pub(super) fn in_order(authorizations: impl Iterator<Item = Authorization>) -> Arc<[Authorization]> {
    let mut sorted: Vec<_> = authorizations.collect();
    sorted.sort_by(|a, b| a.metadata.cmp(&b.metadata));
    sorted.into()
}

fn server_authorization(
    object: &PolicyObject,
    cluster: &PolicyCluster,
) -> Result<(Servers, Authorization), Fault> {
    let spec = ServerAuthorizationSpec::read(&object.spec, &object.key.namespace, cluster)?;
    let networks = match spec.networks.is_empty() {
        true => cluster.networks(),
        false => spec.networks.into(),
    };
    let (metadata, labels) = names("serverauthorization", &object.key.name);
    Ok((spec.servers, Authorization { metadata, labels, networks, authentication: spec.authentication }))
}

fn policy(
    object: &PolicyObject,
    objects: &Objects,
    cluster: &PolicyCluster,
) -> Result<(Target, Authorization), Fault> {
    let spec = AuthorizationPolicySpec::read(&object.spec, &object.key.namespace)?;
    let (networks, authentication) = authentication::all_of(&spec.required, objects, cluster)?;
    let (metadata, labels) = names("authorizationpolicy", &object.key.name);
    Ok((spec.target, Authorization { metadata, labels, networks, authentication }))
}

fn names(kind: &str, name: &Text) -> (Metadata, Labels) {
    let group: Text = Kind::AuthorizationPolicy.row().group.into();
    let kind: Text = kind.into();
    let labels = Labels { group: group.clone(), kind: kind.clone(), name: name.clone() };
    (Metadata::Resource { group, kind, name: name.clone() }, labels)
}
