//! Why a call is decided as it is, in words: each reason is a sentence, and names the objects it is about.

use super::Refusal;
use crate::{
    id::{PolicyId, Text},
    policy::probe,
};
use serde::Serialize;
use std::fmt;

/// An object, or a default of Linkerd where no object says anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// This object.
    Object(PolicyId),
    /// The default of this name.
    Default(Text),
}

/// Why a call is decided as it is. Displayed as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The client calls from within the target's own pod: proxies always let that in.
    Loopback,
    /// The target has no proxy, so no policy is enforced.
    TargetNotMeshed,
    /// The port does not go through the proxy.
    PortSkipped {
        /// The annotation's value.
        ports: Text,
    },
    /// What holds on the port: a Server, or the default policy.
    Server {
        /// Which.
        origin: Origin,
        /// The protocol of the port.
        protocol: &'static str,
    },
    /// A Server that selects the port too, but is younger: it does nothing there.
    Shadowed {
        /// The Server.
        server: PolicyId,
    },
    /// The proxy cannot read this route and refuses everything on the port.
    InvalidRoute {
        /// The route.
        route: Origin,
    },
    /// The route that takes the request.
    Route {
        /// Which.
        route: Origin,
    },
    /// No route takes the request.
    NoRoute {
        /// The routes there are.
        routes: Vec<Origin>,
    },
    /// An authorization lets the client in.
    Admits {
        /// Which.
        authorization: Origin,
    },
    /// An authorization does not.
    Refuses {
        /// Which.
        authorization: Origin,
        /// Why not.
        because: Refusal,
    },
    /// There is no authorization at all.
    NoAuthorization,
    /// Without method and path it can only be said that requests on this route would be let in.
    RouteAdmits {
        /// The route.
        route: Origin,
        /// Its authorization.
        authorization: Origin,
    },
    /// Without method and path it cannot be said whether one of the routes takes the request; 404 if not.
    RouteNeeded,
    /// The client is not meshed, so nothing judges what it calls outside the cluster.
    ClientNotMeshed,
    /// No EgressNetwork covers the address: Linkerd lets such calls out.
    NoEgressNetwork,
    /// The EgressNetwork that covers the address.
    EgressNetwork {
        /// Which.
        network: Origin,
        /// Its traffic policy.
        allows: bool,
    },
    /// Routes on the EgressNetwork: what they match goes by them, whatever the traffic policy.
    EgressRoutes {
        /// Which.
        routes: Vec<Origin>,
    },
    /// Requests beyond this limit are refused with 429.
    RateLimit {
        /// The limit.
        limit: Origin,
    },
}

// === impl Origin ===

impl Origin {
    pub(super) fn is_default(&self, name: &str) -> bool {
        matches!(self, Self::Default(own) if **own == *name)
    }
}

// === impl Reason ===

impl Reason {
    /// Its name in snake case, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::TargetNotMeshed => "target_not_meshed",
            Self::PortSkipped { .. } => "port_skipped",
            Self::Server { .. } => "server",
            Self::Shadowed { .. } => "shadowed",
            Self::InvalidRoute { .. } => "invalid_route",
            Self::Route { .. } => "route",
            Self::NoRoute { .. } => "no_route",
            Self::Admits { .. } => "admits",
            Self::Refuses { .. } => "refuses",
            Self::NoAuthorization => "no_authorization",
            Self::RouteAdmits { .. } => "route_admits",
            Self::RouteNeeded => "route_needed",
            Self::ClientNotMeshed => "client_not_meshed",
            Self::NoEgressNetwork => "no_egress_network",
            Self::EgressNetwork { .. } => "egress_network",
            Self::EgressRoutes { .. } => "egress_routes",
            Self::RateLimit { .. } => "rate_limit",
        }
    }

    /// The objects and defaults it names.
    pub fn origins(&self) -> Vec<Origin> {
        match self {
            Self::Server { origin, .. }
            | Self::InvalidRoute { route: origin }
            | Self::Route { route: origin }
            | Self::Admits { authorization: origin }
            | Self::Refuses { authorization: origin, .. }
            | Self::EgressNetwork { network: origin, .. }
            | Self::RateLimit { limit: origin } => vec![origin.clone()],
            Self::Shadowed { server } => vec![Origin::Object(server.clone())],
            Self::NoRoute { routes } | Self::EgressRoutes { routes } => routes.clone(),
            Self::RouteAdmits { route, authorization } => vec![route.clone(), authorization.clone()],
            Self::Loopback
            | Self::TargetNotMeshed
            | Self::PortSkipped { .. }
            | Self::NoAuthorization
            | Self::ClientNotMeshed
            | Self::NoEgressNetwork
            | Self::RouteNeeded => Vec::new(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) => write!(f, "{id}"),
            Self::Default(name) => write!(f, "the default `{name}`"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => {
                f.write_str("the client calls from within the pod, which proxies always let in")
            }
            Self::TargetNotMeshed => f.write_str("the target has no proxy, so no policy is enforced"),
            Self::PortSkipped { ports } => {
                write!(
                    f,
                    "the port bypasses the proxy (skip-inbound-ports: {ports}), so no policy is enforced"
                )
            }
            Self::Server { origin: Origin::Default(name), protocol } => {
                write!(f, "no Server selects the port, so the default policy `{name}` holds ({protocol})")
            }
            Self::Server { origin, protocol } => write!(f, "{origin} selects the port ({protocol})"),
            Self::Shadowed { server } => {
                write!(
                    f,
                    "{server} selects the port too, but an older Server has it (or of the same age the one that comes first by name), so it does nothing there"
                )
            }
            Self::InvalidRoute { route } => write!(
                f,
                "{route} has a match on headers alone, which the proxy cannot read; it refuses everything on the port"
            ),
            Self::Route { route } if route.is_default(probe::DEFAULT) => {
                f.write_str("no route is attached, so the default route takes the request")
            }
            Self::Route { route } if route.is_default(probe::PROBE) => {
                f.write_str("the default route for the kubelet's probes takes the request")
            }
            Self::Route { route } => write!(f, "{route} takes the request"),
            Self::NoRoute { routes } => {
                let names: Vec<String> = routes.iter().map(ToString::to_string).collect();
                write!(f, "no route takes the request, so it is answered with 404 ({})", names.join(", "))
            }
            Self::Admits { authorization } => write!(f, "{authorization} lets the client in"),
            Self::Refuses { authorization, because } => {
                write!(f, "{authorization} does not let the client in: {because}")
            }
            Self::NoAuthorization => f.write_str("nothing authorizes anybody there"),
            Self::RouteAdmits { route, .. } if route.is_default(probe::PROBE) => {
                f.write_str("requests like the kubelet's probes would be let in")
            }
            Self::RouteAdmits { route, authorization } => {
                write!(f, "requests that {route} takes would be let in by {authorization}")
            }
            Self::RouteNeeded => f.write_str("requests that none of its routes takes are answered with 404"),
            Self::ClientNotMeshed => {
                f.write_str("the client is not meshed, so nothing judges what it calls outside the cluster")
            }
            Self::NoEgressNetwork => {
                f.write_str("no EgressNetwork covers the address, and without one everything is let out")
            }
            Self::EgressNetwork { network, allows } => {
                let verb = if *allows { "lets out" } else { "keeps in" };
                write!(f, "{network} covers the address and {verb} what no route of it matches")
            }
            Self::EgressRoutes { routes } => {
                let names: Vec<String> = routes.iter().map(ToString::to_string).collect();
                write!(f, "what {} match goes by them", names.join(" or "))
            }
            Self::RateLimit { limit } => write!(f, "{limit} limits how often"),
        }
    }
}
