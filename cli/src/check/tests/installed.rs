//! Our namespace, roles, Deployments and pods, broken.

use super::*;

pub(super) const BREAKS: &[Break] = &[
    (
        "mcp-ns-exists",
        "no Namespace has our label",
        |it| (it.namespaces, it.namespace) = (Ok(Vec::new()), None),
        E,
        "no Namespace has the label linkerd.io/extension=mcp: linkerd-mcp is not installed, or its Namespace is not \
         labelled",
    ),
    (
        "mcp-ns-exists",
        "--mcp-namespace names one without our label",
        |it| it.namespace = Some("mine".to_owned()),
        E,
        "there is no Namespace mine with the label linkerd.io/extension=mcp; that label is on linkerd-mcp",
    ),
    (
        "mcp-ns-exists",
        "whoever asks may not list Namespaces",
        |it| it.namespaces = Err(Gap::Forbidden("you may not list namespaces".to_owned())),
        W,
        "cannot be checked: you may not list namespaces",
    ),
    (
        "mcp-ns-unique",
        "two Namespaces have our label",
        |it| it.namespaces.as_mut().unwrap().push("other".to_owned()),
        W,
        "several Namespaces have the label linkerd.io/extension=mcp: linkerd-mcp, other; name one with --mcp-namespace",
    ),
    (
        "mcp-cr-exists",
        "the ClusterRole is deleted",
        |it| it.cluster_roles.as_mut().unwrap().clear(),
        E,
        "missing ClusterRoles: linkerd-linkerd-mcp-controller",
    ),
    (
        "mcp-crb-exists",
        "the ClusterRoleBinding is deleted",
        |it| it.cluster_role_bindings.as_mut().unwrap().clear(),
        E,
        "missing or wrong ClusterRoleBindings: linkerd-linkerd-mcp-controller",
    ),
    (
        "mcp-crb-exists",
        "the ClusterRoleBinding binds another ServiceAccount",
        |it| it.cluster_role_bindings.as_mut().unwrap()[0].accounts.clear(),
        E,
        "missing or wrong ClusterRoleBindings: linkerd-linkerd-mcp-controller (does not bind ServiceAccount \
         linkerd-mcp/mcp-controller)",
    ),
    (
        "mcp-crb-exists",
        "the ClusterRoleBinding binds another role",
        |it| it.cluster_role_bindings.as_mut().unwrap()[0].role = "view".to_owned(),
        E,
        "missing or wrong ClusterRoleBindings: linkerd-linkerd-mcp-controller (binds view, not \
         linkerd-linkerd-mcp-controller)",
    ),
    (
        "mcp-roles-exist",
        "the Roles are deleted",
        |it| it.roles.as_mut().unwrap().clear(),
        E,
        "missing or wrong: Role linkerd/linkerd-mcp-controller-config, Role linkerd/linkerd-mcp-api-trust",
    ),
    (
        "mcp-roles-exist",
        "one namespace is watched, without a Role there",
        |it| {
            let controller = it.deployments.as_mut().unwrap().get_mut("mcp-controller").unwrap();
            controller.namespace_only = Some("shop".to_owned());
        },
        E,
        "missing or wrong: Role shop/linkerd-mcp-controller, RoleBinding shop/linkerd-mcp-controller",
    ),
    (
        "mcp-rbac-sufficient",
        "the ClusterRole gives less than the controller reads",
        |it| it.missing_rights = Ok(vec!["list pods".to_owned(), "watch pods".to_owned()]),
        E,
        "ServiceAccount mcp-controller may not list pods, watch pods",
    ),
    (
        "mcp-rbac-sufficient",
        "whoever asks may not ask for the rights of others",
        |it| it.missing_rights = Err(Gap::Forbidden("you may not ask".to_owned())),
        W,
        "cannot be checked: you may not ask",
    ),
    (
        "mcp-deployments-exist",
        "Deployments are deleted",
        |it| it.deployments.as_mut().unwrap().retain(|name, _| name == "mcp-api"),
        E,
        "missing Deployments: mcp-controller, mcp-redis",
    ),
    (
        "mcp-pods-injection",
        "a pod has no proxy",
        |it| pod(it).proxy = None,
        E,
        "pods without a linkerd-proxy: linkerd-mcp/mcp-api-1",
    ),
    (
        "mcp-pods-running",
        "a container crashes",
        |it| pod(it).unready = vec!["mcp-api (CrashLoopBackOff)".to_owned()],
        E,
        "linkerd-mcp/mcp-api-1 is not ready: mcp-api (CrashLoopBackOff)",
    ),
    (
        "mcp-pods-running",
        "a container is not ready, and says why",
        |it| {
            pod(it).unready = vec!["mcp-api".to_owned()];
            pod(it).says = Some("no snapshot has come yet".to_owned());
        },
        E,
        "linkerd-mcp/mcp-api-1 is not ready: mcp-api; it says: no snapshot has come yet",
    ),
    (
        "mcp-pods-running",
        "a pod is not scheduled",
        |it| pod(it).phase = "Pending".to_owned(),
        E,
        "linkerd-mcp/mcp-api-1 is Pending",
    ),
    (
        "mcp-pods-running",
        "there are no pods",
        |it| it.pods.as_mut().unwrap().clear(),
        E,
        "there are no pods with the label linkerd.io/extension=mcp",
    ),
    (
        "mcp-pods-running",
        "a Deployment lacks a replica",
        |it| it.deployments.as_mut().unwrap().get_mut("mcp-api").unwrap().available = 1,
        E,
        "Deployment mcp-api has 1 of 2 replicas available",
    ),
    (
        "mcp-proxy-healthy",
        "a proxy is not ready",
        |it| pod(it).proxy.as_mut().unwrap().ready = false,
        E,
        "proxies that are not ready: linkerd-mcp/mcp-api-1",
    ),
    (
        "mcp-proxy-cp-version",
        "a proxy is older than the control plane",
        |it| pod(it).proxy.as_mut().unwrap().version = Some("edge-26.1.1".to_owned()),
        W,
        "Linkerd is edge-26.8.3, and these proxies are not: linkerd-mcp/mcp-api-1 (edge-26.1.1); restart the pods",
    ),
];
