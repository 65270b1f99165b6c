//! The kinds of Kubernetes objects that facts come from. One row each; the controller's watch table and the chart's
//! RBAC follow this list.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A watched kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants are the Kubernetes kinds they are named after")]
pub enum Kind {
    Namespace,
    Service,
    EndpointSlice,
    Pod,
    ReplicaSet,
    Job,
    ServiceAccount,
    Server,
    ServerAuthorization,
    AuthorizationPolicy,
    MeshTLSAuthentication,
    NetworkAuthentication,
    HTTPLocalRateLimitPolicy,
    EgressNetwork,
    /// `httproutes.policy.linkerd.io`.
    LinkerdHTTPRoute,
    /// `httproutes.gateway.networking.k8s.io`.
    GatewayHTTPRoute,
    GRPCRoute,
    TLSRoute,
    TCPRoute,
    ServiceProfile,
    ExternalWorkload,
    Link,
}

/// One row of [`KINDS`].
#[derive(Debug, Clone, Copy)]
pub struct KindRow {
    /// The kind.
    pub kind: Kind,
    /// API group, empty for core.
    pub group: &'static str,
    /// The kind's name as in manifests.
    pub name: &'static str,
    /// The plural resource name.
    pub plural: &'static str,
    /// API versions to try, newest first.
    pub versions: &'static [&'static str],
    /// True for kinds that a cluster may lack (custom resources).
    pub optional: bool,
}

const POLICY: &str = "policy.linkerd.io";
const GATEWAY: &str = "gateway.networking.k8s.io";

const fn row(
    kind: Kind,
    group: &'static str,
    name: &'static str,
    plural: &'static str,
    versions: &'static [&'static str],
    optional: bool,
) -> KindRow {
    KindRow { kind, group, name, plural, versions, optional }
}

/// Every watched kind.
pub const KINDS: &[KindRow] = &[
    row(Kind::Namespace, "", "Namespace", "namespaces", &["v1"], false),
    row(Kind::Service, "", "Service", "services", &["v1"], false),
    row(Kind::EndpointSlice, "discovery.k8s.io", "EndpointSlice", "endpointslices", &["v1"], false),
    row(Kind::Pod, "", "Pod", "pods", &["v1"], false),
    row(Kind::ReplicaSet, "apps", "ReplicaSet", "replicasets", &["v1"], false),
    row(Kind::Job, "batch", "Job", "jobs", &["v1"], false),
    row(Kind::ServiceAccount, "", "ServiceAccount", "serviceaccounts", &["v1"], false),
    row(Kind::Server, POLICY, "Server", "servers", &["v1beta3", "v1beta2", "v1beta1"], true),
    row(Kind::ServerAuthorization, POLICY, "ServerAuthorization", "serverauthorizations", &["v1beta1"], true),
    row(
        Kind::AuthorizationPolicy,
        POLICY,
        "AuthorizationPolicy",
        "authorizationpolicies",
        &["v1alpha1"],
        true,
    ),
    row(
        Kind::MeshTLSAuthentication,
        POLICY,
        "MeshTLSAuthentication",
        "meshtlsauthentications",
        &["v1alpha1"],
        true,
    ),
    row(
        Kind::NetworkAuthentication,
        POLICY,
        "NetworkAuthentication",
        "networkauthentications",
        &["v1alpha1"],
        true,
    ),
    row(
        Kind::HTTPLocalRateLimitPolicy,
        POLICY,
        "HTTPLocalRateLimitPolicy",
        "httplocalratelimitpolicies",
        &["v1alpha1"],
        true,
    ),
    row(Kind::EgressNetwork, POLICY, "EgressNetwork", "egressnetworks", &["v1alpha1"], true),
    row(Kind::LinkerdHTTPRoute, POLICY, "HTTPRoute", "httproutes", &["v1beta3", "v1beta2", "v1beta1"], true),
    row(Kind::GatewayHTTPRoute, GATEWAY, "HTTPRoute", "httproutes", &["v1", "v1beta1"], true),
    row(Kind::GRPCRoute, GATEWAY, "GRPCRoute", "grpcroutes", &["v1"], true),
    row(Kind::TLSRoute, GATEWAY, "TLSRoute", "tlsroutes", &["v1alpha2"], true),
    row(Kind::TCPRoute, GATEWAY, "TCPRoute", "tcproutes", &["v1alpha2"], true),
    row(Kind::ServiceProfile, "linkerd.io", "ServiceProfile", "serviceprofiles", &["v1alpha2"], true),
    row(
        Kind::ExternalWorkload,
        "workload.linkerd.io",
        "ExternalWorkload",
        "externalworkloads",
        &["v1beta1"],
        true,
    ),
    row(Kind::Link, "multicluster.linkerd.io", "Link", "links", &["v1alpha3", "v1alpha2", "v1alpha1"], true),
];

impl Kind {
    /// The kind's row in [`KINDS`].
    pub fn row(self) -> &'static KindRow {
        KINDS.iter().find(|row| row.kind == self).expect("KINDS has a row for every kind")
    }

    /// `plural.group`, as in `servers.policy.linkerd.io` or `pods`: how kubectl names the resource.
    pub fn resource(self) -> String {
        let row = self.row();
        if row.group.is_empty() { row.plural.to_owned() } else { format!("{}.{}", row.plural, row.group) }
    }

    /// The first part of a [`crate::id::PolicyId`]: the kind in lower case, with its group where the name alone would
    /// be ambiguous (two groups have an HTTPRoute).
    pub fn policy_prefix(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::ServerAuthorization => "serverauthorization",
            Self::AuthorizationPolicy => "authorizationpolicy",
            Self::MeshTLSAuthentication => "meshtlsauthentication",
            Self::NetworkAuthentication => "networkauthentication",
            Self::HTTPLocalRateLimitPolicy => "httplocalratelimitpolicy",
            Self::EgressNetwork => "egressnetwork",
            Self::LinkerdHTTPRoute => "httproute.policy.linkerd.io",
            Self::GatewayHTTPRoute => "httproute.gateway.networking.k8s.io",
            Self::GRPCRoute => "grpcroute",
            Self::TLSRoute => "tlsroute",
            Self::TCPRoute => "tcproute",
            _ => "",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_and_a_resource_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = KINDS.iter().map(|row| row.kind.resource()).collect();
        assert_eq!(names.len(), KINDS.len());
        assert_eq!(Kind::Server.resource(), "servers.policy.linkerd.io");
        assert_eq!(Kind::Pod.resource(), "pods");
    }
}
