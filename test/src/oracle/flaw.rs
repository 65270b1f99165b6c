//! Rules broken on purpose.

/// A mistake about Linkerd's policy.
///
/// The first ones are those of the only other tool that tries, as the project's notes number them; the others are
/// mistakes that the recordings warn of. Errors 11 to 13 of that tool (names of Services taken for those of accounts,
/// missing rights, swallowed errors) are not about objects and have none here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// 1: of a targetRef only the name is read, and it is taken for a Server's.
    TargetNameOnly,
    /// 2: one of several references is enough.
    ReferencesOred,
    /// 3: references are looked up in the policy's own namespace.
    ReferenceNamespaceIgnored,
    /// 4: an empty list of references lets in nobody.
    NoReferencesMeanNobody,
    /// 5: the identityRefs of a MeshTLSAuthentication are never read.
    IdentityRefsIgnored,
    /// 6: a ServiceAccount among the references is an error.
    ServiceAccountRefused,
    /// 6: targets that are no Server are an error.
    OnlyServerTargets,
    /// 6: a port by name is an error.
    NamedPortRefused,
    /// 7: NetworkAuthentications are searched for identities, so they let in nobody.
    NetworksUnread,
    /// 8: `*.suffix` is an exact name.
    SuffixIsExact,
    /// 8: the control plane is in `linkerd` and its trust domain is `cluster.local`.
    TrustDomainAssumed,
    /// 9: ports without a Server let in anybody.
    DefaultPolicyIgnored,
    /// 9: the access policy of Servers is not read.
    AccessPolicyIgnored,
    /// 9: `audit` refuses.
    AuditRefuses,
    /// 9: probes are not let in.
    ProbesIgnored,
    /// 9: ServerAuthorizations are not read.
    ServerAuthorizationsIgnored,
    /// 10: of selectors only matchLabels are read.
    MatchExpressionsIgnored,
    /// 10: ports are not compared.
    PortsNotCompared,
    /// Policies on a namespace reach ports without a Server.
    NamespacePoliciesReachDefaults,
    /// Exceptions of networks are not read.
    ExceptIgnored,
    /// A reference to what does not exist is passed over, and the others hold.
    MissingReferencePassedOver,
    /// Of two Servers the younger one holds.
    YoungestServer,
    /// A ServerAuthorization without networks is for all of them.
    ServerAuthorizationForAllNetworks,
    /// Routes do not take the place of the default routes.
    ProbeRouteStays,
    /// What lets into the Server does not let into its routes.
    RouteAuthorizationsAlone,
    /// A GRPCRoute on a Server is no matter to its HTTPRoutes.
    ConflictIgnored,
    /// A parent elsewhere, or with a port, leaves a route as it is.
    SpoiledRouteAttached,
    /// Exact paths go before prefixes and expressions, as in the Gateway API.
    GatewayPrecedence,
    /// `*` is for `spiffe://` identities too.
    SpiffeInStar,
    /// A bad entry of a list of ports is passed over.
    BadPortPassedOver,
    /// A Server that does not parse closes its port.
    UnreadableServerCloses,
    /// Names of routes have a letter case.
    RouteNameCase,
}

// === impl Flaw ===

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::TargetNameOnly,
        Self::ReferencesOred,
        Self::ReferenceNamespaceIgnored,
        Self::NoReferencesMeanNobody,
        Self::IdentityRefsIgnored,
        Self::ServiceAccountRefused,
        Self::OnlyServerTargets,
        Self::NamedPortRefused,
        Self::NetworksUnread,
        Self::SuffixIsExact,
        Self::TrustDomainAssumed,
        Self::DefaultPolicyIgnored,
        Self::AccessPolicyIgnored,
        Self::AuditRefuses,
        Self::ProbesIgnored,
        Self::ServerAuthorizationsIgnored,
        Self::MatchExpressionsIgnored,
        Self::PortsNotCompared,
        Self::NamespacePoliciesReachDefaults,
        Self::ExceptIgnored,
        Self::MissingReferencePassedOver,
        Self::YoungestServer,
        Self::ServerAuthorizationForAllNetworks,
        Self::ProbeRouteStays,
        Self::RouteAuthorizationsAlone,
        Self::ConflictIgnored,
        Self::SpoiledRouteAttached,
        Self::GatewayPrecedence,
        Self::SpiffeInStar,
        Self::BadPortPassedOver,
        Self::UnreadableServerCloses,
        Self::RouteNameCase,
    ];
}
