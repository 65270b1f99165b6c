//! Kubernetes, Linkerd and their custom resources, broken.

use super::*;

pub(super) const BREAKS: &[Break] = &[
    (
        "mcp-kubernetes-api",
        "the API server does not answer",
        |it| it.kubernetes = failed(),
        E,
        "the Kubernetes API at https://k8s/ cannot be reached",
    ),
    (
        "mcp-kubernetes-api",
        "whoever asks may not ask for its version",
        |it| it.kubernetes = Err(Gap::Forbidden("you may not ask".to_owned())),
        E,
        "cannot be checked: you may not ask",
    ),
    (
        "mcp-kubernetes-version",
        "Kubernetes is too old",
        |it| it.kubernetes = Ok("v1.29.4+k3s1".to_owned()),
        W,
        "Kubernetes is v1.29.4+k3s1; v1.31 or newer is needed",
    ),
    (
        "mcp-kubernetes-version",
        "Kubernetes says a version that is none",
        |it| it.kubernetes = Ok("2".to_owned()),
        W,
        "the version of Kubernetes is not understood: 2",
    ),
    (
        "mcp-linkerd-exists",
        "there is no Linkerd",
        |it| it.linkerd = Ok(None),
        E,
        "there is no ConfigMap linkerd-config in Namespace linkerd: Linkerd is not installed there; --linkerd-namespace names \
         another",
    ),
    (
        "mcp-linkerd-exists",
        "whoever asks may not read its ConfigMap",
        |it| it.linkerd = Err(Gap::Forbidden("you may not get it".to_owned())),
        W,
        "cannot be checked: you may not get it",
    ),
    (
        "mcp-linkerd-version",
        "Linkerd is too old",
        |it| it.linkerd = Ok(Some(Some("stable-2.14.10".to_owned()))),
        W,
        "Linkerd is stable-2.14.10; 2.17 or edge-24.11 or newer is needed",
    ),
    (
        "mcp-linkerd-version",
        "Linkerd does not say its version",
        |it| it.linkerd = Ok(Some(None)),
        W,
        "the ConfigMap linkerd-config has no linkerdVersion",
    ),
    (
        "mcp-trust-roots",
        "there are no trust roots",
        |it| it.trust_roots = Ok(None),
        W,
        "there is no ConfigMap linkerd-identity-trust-roots in Namespace linkerd, so nobody's certificate can be verified",
    ),
    (
        "mcp-trust-roots",
        "the trust roots are no certificates",
        |it| {
            it.trust_roots =
                Ok(Some(TrustRoot::of_bundle("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")))
        },
        E,
        "the ConfigMap linkerd-identity-trust-roots has no certificate that can be read in ca-bundle.crt",
    ),
    (
        "mcp-trust-roots",
        "the only trust root expired",
        |it| it.trust_roots = Ok(Some(vec![mk_root(0)])),
        E,
        "expired or not valid yet: CN=root.linkerd.cluster.local",
    ),
    (
        "mcp-trust-roots",
        "the trust root that lasts longest expires soon",
        |it| it.trust_roots = Ok(Some(vec![mk_root(59), mk_root(-1)])),
        W,
        "CN=root.linkerd.cluster.local expires in 59 days, and no other is valid for longer",
    ),
    (
        "mcp-linkerd-crds",
        "a CustomResourceDefinition of Linkerd's policy is missing",
        |it| drop(it.crds.as_mut().unwrap().remove("servers.policy.linkerd.io")),
        E,
        "missing CustomResourceDefinitions: servers.policy.linkerd.io",
    ),
    (
        "mcp-gateway-api-version",
        "a CustomResourceDefinition of the Gateway API is missing",
        |it| drop(it.crds.as_mut().unwrap().remove("grpcroutes.gateway.networking.k8s.io")),
        W,
        "the CustomResourceDefinition grpcroutes.gateway.networking.k8s.io is missing: its routes are not known",
    ),
    (
        "mcp-gateway-api-version",
        "the Gateway API is too old",
        |it| {
            let crds = it.crds.as_mut().unwrap();
            crds.insert("httproutes.gateway.networking.k8s.io".to_owned(), Some("v0.8.1".to_owned()));
        },
        W,
        "httproutes.gateway.networking.k8s.io is from Gateway API v0.8.1; v1.1.1 or newer is needed",
    ),
];
