//! Our roles: whether they are there, and whether they are enough.

use super::{
    Check, Verdict, known, named,
    seen::{Binding, Seen},
    unless,
};

/// Roles and rights.
pub(super) const CHECKS: &[Check] = &[
    Check::new("linkerd-mcp ClusterRoles exist", "mcp-cr-exists", cluster_roles),
    Check::new("linkerd-mcp ClusterRoleBindings exist", "mcp-crb-exists", cluster_role_bindings),
    Check::new("linkerd-mcp Roles and RoleBindings exist", "mcp-roles-exist", roles),
    Check::new("linkerd-mcp controller may read what it watches", "mcp-rbac-sufficient", sufficient),
];

fn cluster_roles(seen: &Seen) -> Verdict {
    // With a single namespace to watch it is a Role instead.
    let (Some(namespace), None) = (&seen.namespace, seen.namespace_only()) else { return Verdict::Skip };
    let expected = format!("linkerd-{namespace}-controller");
    match known(&seen.cluster_roles) {
        Ok(roles) if roles.contains(&expected) => Verdict::Fine,
        Ok(_) => Verdict::Error(format!("missing ClusterRoles: {expected}")),
        Err(verdict) => verdict,
    }
}

fn cluster_role_bindings(seen: &Seen) -> Verdict {
    let (Some(namespace), None) = (&seen.namespace, seen.namespace_only()) else { return Verdict::Skip };
    let expected = format!("linkerd-{namespace}-controller");
    match known(&seen.cluster_role_bindings) {
        Ok(bindings) => unless(
            &bound(bindings, &expected, &expected, &format!("{namespace}/mcp-controller")),
            |missing| format!("missing or wrong ClusterRoleBindings: {missing}"),
        ),
        Err(verdict) => verdict,
    }
}

fn roles(seen: &Seen) -> Verdict {
    let Some(namespace) = &seen.namespace else { return Verdict::Skip };
    let mut expected = vec![
        (seen.linkerd_namespace.clone(), format!("{namespace}-controller-config"), "mcp-controller"),
        (seen.linkerd_namespace.clone(), format!("{namespace}-api-trust"), "mcp-api"),
    ];
    if let Some(only) = seen.namespace_only() {
        expected.push((only.to_owned(), format!("{namespace}-controller"), "mcp-controller"));
    }
    let (roles, bindings) = match (known(&seen.roles), known(&seen.role_bindings)) {
        (Ok(roles), Ok(bindings)) => (roles, bindings),
        (Err(verdict), _) | (_, Err(verdict)) => return verdict,
    };
    let mut missing = Vec::new();
    for (place, name, account) in expected {
        let key = format!("{place}/{name}");
        if !roles.contains(&key) {
            missing.push(format!("Role {key}"));
        }
        let wrong = bound(bindings, &key, &name, &format!("{namespace}/{account}"));
        missing.extend(wrong.into_iter().map(|wrong| format!("RoleBinding {wrong}")));
    }
    unless(&missing, |missing| format!("missing or wrong: {missing}"))
}

/// What is wrong with the binding of this name.
fn bound(bindings: &[Binding], name: &str, role: &str, account: &str) -> Vec<String> {
    match bindings.iter().find(|binding| binding.name == name) {
        None => vec![name.to_owned()],
        Some(binding) if binding.role != role => vec![format!("{name} (binds {}, not {role})", binding.role)],
        Some(binding) if !binding.accounts.iter().any(|bound| bound == account) => {
            vec![format!("{name} (does not bind ServiceAccount {account})")]
        }
        Some(_) => Vec::new(),
    }
}

fn sufficient(seen: &Seen) -> Verdict {
    match known(&seen.missing_rights) {
        Ok(missing) if missing.is_empty() => Verdict::Fine,
        Ok(missing) => Verdict::Error(format!("ServiceAccount mcp-controller may not {}", named(missing))),
        Err(verdict) => verdict,
    }
}
