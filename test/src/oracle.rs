//! Linkerd's inbound policy once more: slow, plain, and written from its rules alone, to hold the product's evaluator
//! against.
//!
//! It works on Kubernetes JSON as it comes and shares nothing with the crate it checks: no types, no selectors, no
//! parsing. Every question walks over all objects. In two halves, as Linkerd itself:
//!
//! ```text
//! objects ─► answer (server, default, authorization, authentication, route, probe, rate_limit)
//!               the policy controller's answer for a port of a workload, in the form of the recordings
//!        ─► call: what the proxy makes of that answer, a client and a request
//! ```
//!
//! The recordings of the real controller check the first half; the second is from the proxy's source as the project's
//! notes have it. A [`Flaw`] breaks one rule on purpose, to show that a comparison notices.
//!
//! Not decided here, because no rule says it, so objects and calls given to it should avoid it: missing
//! `creationTimestamp`s, and patterns that are no regular expressions.

mod authentication;
mod authorization;
mod call;
mod default;
mod flaw;
mod json;
mod probe;
mod rate_limit;
mod route;
mod selector;
mod server;

pub use call::{Call, Caller, Decision, Outcome};
pub use flaw::Flaw;

use json::{annotation, is, label, name, namespace};
use serde_json::{Value, json};

/// The pod or ExternalWorkload that is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// `Pod` or `ExternalWorkload`.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// All that is known: the objects, and the settings of the control plane as the recordings write them.
#[derive(Debug, Clone, Copy)]
pub struct Oracle<'a> {
    /// Kubernetes objects, in any order.
    pub objects: &'a [Value],
    /// `cluster_networks`, `default_policy`, `identity_domain`, `control_plane_namespace`, `probe_networks`.
    pub cluster: &'a Value,
    /// The rule to break.
    pub flaw: Option<Flaw>,
}

// === impl Oracle ===

impl<'a> Oracle<'a> {
    /// The controller's answer about a port: `status`, and `server` where it is `ok`. Authorizations are in no order.
    pub fn answer(&self, workload: &Workload, port: u32) -> Value {
        // README 4: port 0 and numbers above 65535 are an invalid argument.
        if port == 0 || port > 65_535 {
            return json!({"status": "invalid_argument"});
        }
        let Some(object) = self.workload(workload) else {
            return json!({"status": "not_found"});
        };
        // README 4: a pod is known exactly if it has the label, whatever its value. ExternalWorkloads need none.
        if !in_mesh(object) {
            return json!({"status": "not_found"});
        }
        let server = match self.server_of(object, port) {
            Some(server) => self.explicit_server(server, object, port),
            None => self.default_server(object, port),
        };
        json!({"status": "ok", "server": server})
    }

    /// The object that a workload is.
    fn workload(&self, workload: &Workload) -> Option<&'a Value> {
        self.all(workload.kind)
            .into_iter()
            .find(|object| namespace(object) == workload.namespace && name(object) == workload.name)
    }

    /// All objects of a kind, of any API group.
    fn all(&self, kind: &str) -> Vec<&'a Value> {
        self.objects.iter().filter(|object| is(object, kind)).collect()
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// A list of texts among the settings.
    fn setting_list(&self, setting: &str) -> Vec<String> {
        let list = self.cluster[setting].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    /// §3.1: `<service account>.<namespace>.serviceaccount.identity.<control plane's namespace>.<trust domain>`.
    fn identity(&self, account: &str, namespace: &str) -> String {
        format!("{account}.{}", self.identities_of_namespace(namespace))
    }

    /// What the identities of a namespace end in.
    fn identities_of_namespace(&self, namespace: &str) -> String {
        let (mut control_plane, mut domain) = (
            json::text(self.cluster, "/control_plane_namespace"),
            json::text(self.cluster, "/identity_domain"),
        );
        if self.has(Flaw::TrustDomainAssumed) {
            (control_plane, domain) = ("linkerd", "cluster.local");
        }
        format!("{namespace}.serviceaccount.identity.{control_plane}.{domain}")
    }
}

/// True for pods with the label that the injector sets, and for all ExternalWorkloads.
fn in_mesh(workload: &Value) -> bool {
    is(workload, "ExternalWorkload") || label(workload, "linkerd.io/control-plane-ns").is_some()
}

/// True when the annotation of a pod keeps the port from its proxy; §5.5.1. Not the controller's business (§5.7.8).
fn is_skipped(workload: &Value, port: u32) -> bool {
    let ports = annotation(workload, "config.linkerd.io/skip-inbound-ports").and_then(default::port_ranges);
    is(workload, "Pod")
        && ports.is_some_and(|ports| ports.iter().any(|(low, high)| *low <= port && port <= *high))
}
