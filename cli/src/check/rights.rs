//! Rights as Kubernetes names them: what the controller must have, and what an installation takes.

use crate::{
    check::seen::Seen,
    install::{
        live,
        manifest::{Document, Reference},
    },
};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use linkerd_mcp_graph::kind::{KINDS, Kind};

/// What the controller needs: to list and watch every kind that the graph is made of, and to read Linkerd's settings.
pub(super) fn of_controller(seen: &Seen) -> Vec<ResourceAttributes> {
    let only = seen.namespace_only();
    let kinds = KINDS.iter().filter(|row| only.is_none() || row.kind != Kind::Namespace);
    let mut rights: Vec<_> = kinds
        .flat_map(|row| ["list", "watch"].map(|verb| right(verb, row.group, row.plural, only)))
        .collect();
    let config = right("get", "", "configmaps", Some(&seen.linkerd_namespace));
    rights.push(ResourceAttributes { name: Some("linkerd-config".to_owned()), ..config });
    rights
}

/// What it takes to create these objects, each right once.
pub(super) fn to_create(documents: &[Document]) -> Vec<ResourceAttributes> {
    let mut rights = Vec::new();
    for document in documents {
        let Reference { group, kind, namespace, .. } = document.reference();
        let Some(plural) = live::plural(&group, &kind) else { continue };
        let place = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let right = right("create", &group, plural, place);
        if !rights.contains(&right) {
            rights.push(right);
        }
    }
    rights
}

fn right(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> ResourceAttributes {
    ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

/// As people write it: `list servers.policy.linkerd.io`.
pub(super) fn words(right: &ResourceAttributes) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let mut words = format!("{} {}", text(&right.verb), text(&right.resource));
    if let Some(group) = right.group.as_deref().filter(|group| !group.is_empty()) {
        words.push_str(&format!(".{group}"));
    }
    if let Some(namespace) = &right.namespace {
        words.push_str(&format!(" in {namespace}"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::{self, Values};
    use std::path::Path;

    #[test]
    fn every_right_of_the_controller_is_one_that_its_chart_gives() {
        let template = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../charts/linkerd-mcp/templates/controller-rbac.yaml");
        let template = std::fs::read_to_string(template).unwrap();
        for right in of_controller(&Seen::nothing("linkerd")) {
            let resource = right.resource.clone().unwrap();
            assert!(template.contains(&resource), "{}", words(&right));
        }
    }

    #[test]
    fn an_installation_takes_the_rights_to_create_what_it_prints_wherever_that_is() {
        let documents = install::render(Values::new(), "mesh").unwrap();
        let rights: Vec<String> = to_create(&documents).iter().map(words).collect();
        assert_eq!(rights[0], "create namespaces");
        for expected in [
            "create deployments.apps in mesh",
            "create clusterroles.rbac.authorization.k8s.io",
            "create rolebindings.rbac.authorization.k8s.io in linkerd",
            "create servers.policy.linkerd.io in mesh",
        ] {
            assert_eq!(rights.iter().filter(|right| *right == expected).count(), 1, "{expected}: {rights:?}");
        }
    }

    #[test]
    fn rights_are_said_as_people_write_them() {
        let seen = Seen::nothing("l5d");
        let words: Vec<String> = of_controller(&seen).iter().map(words).collect();
        assert_eq!(words[0], "list namespaces");
        assert!(words.contains(&"watch servers.policy.linkerd.io".to_owned()));
        assert_eq!(words.last().unwrap(), "get configmaps in l5d");
    }
}
