//! A small mesh to flip calls in: Deployments `db`, `web` and `bot` in namespace `shop`, an unmeshed `old` in `legacy`,
//! a spare `web` in `other`. `db` has port 8080 named `http` with a probe on it.

use super::super::*;
use crate::{
    assemble::Cluster,
    fact::{Change, ContainerPort, Fact, Labels, OwnerRef, Pod, Probe, Proxy},
    index::Index,
    metrics::Metrics,
    model::Graph,
    policy::{
        Objects,
        ask::{Callee, Caller, Checked, check},
    },
    query,
};
use serde_json::json;
use std::sync::Arc;

/// What there is, as facts.
#[derive(Debug, Clone)]
pub(super) struct World {
    pods: Vec<Pod>,
    pub(super) objects: Vec<PolicyObject>,
}

/// A mesh assembled from nothing but a world.
pub(super) struct Made {
    graph: Graph,
    index: query::Index,
    metrics: Metrics,
    policies: Policies,
}

pub(super) fn mk_pod(namespace: &str, name: &str, ip: &str, meshed: bool) -> Pod {
    let mut labels = vec![("app", name), ("pod-template-hash", "7d9")];
    if meshed {
        labels.push(("linkerd.io/control-plane-ns", "linkerd"));
    }
    Pod {
        key: Key::new(namespace, format!("{name}-7d9-abcde").as_str()),
        owner: Some(OwnerRef { kind: "Deployment".into(), name: name.into() }),
        service_account: name.into(),
        ips: vec![ip.parse().unwrap()],
        labels: Arc::new(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect()),
        annotations: Labels::default(),
        control_plane: meshed.then(|| "linkerd".into()),
        proxy: if meshed { Proxy::NativeSidecar } else { Proxy::Absent },
        ports: [ContainerPort { port: 8080, name: "http".into(), protocol: "TCP".into() }].into(),
        probes: [Probe { port: 8080, path: "/live".into() }].into(),
        ready: true,
        ended: false,
        host_network: false,
    }
}

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        Self::with_annotations(&[])
    }

    /// Annotations on the pods of `db`.
    pub(super) fn with_annotations(annotations: &[(&str, &str)]) -> Self {
        let prefixed = annotations
            .iter()
            .map(|(name, value)| (Text::from(format!("config.linkerd.io/{name}")), Text::from(*value)));
        let db = Pod { annotations: Arc::new(prefixed.collect()), ..mk_pod("shop", "db", "10.1.0.1", true) };
        let pods = vec![
            db,
            mk_pod("shop", "web", "10.1.0.2", true),
            mk_pod("shop", "bot", "10.1.0.3", true),
            mk_pod("other", "web", "10.1.0.4", true),
            mk_pod("legacy", "old", "10.2.0.9", false),
        ];
        Self { pods, objects: Vec::new() }
    }

    pub(super) fn without_proxy(mut self) -> Self {
        self.pods[0] = mk_pod("shop", "db", "10.1.0.1", false);
        self
    }

    /// Another pod of an unmeshed workload.
    pub(super) fn pod(mut self, namespace: &str, name: &str, number: u32, ip: &str) -> Self {
        let pod = mk_pod(namespace, name, ip, false);
        let key = Key::new(namespace, format!("{name}-7d9-next{number}").as_str());
        self.pods.push(Pod { key, ..pod });
        self
    }

    pub(super) fn object(mut self, kind: Kind, name: &str, spec: Value) -> Self {
        let minute = i64::try_from(self.objects.len()).unwrap() + 1;
        let created_ms = Some(minute * 60_000);
        self.objects.push(PolicyObject { created_ms, ..object::new(kind, "shop", name.into(), spec) });
        self
    }

    /// A Server `s` on port `http` of `db`.
    pub(super) fn server(self, fields: Value) -> Self {
        let mut spec = json!({"podSelector": {"matchLabels": {"app": "db"}}, "port": "http"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.object(Kind::Server, "s", spec)
    }

    /// An AuthorizationPolicy.
    pub(super) fn policy(self, name: &str, target: Value, required: &[Value]) -> Self {
        let spec = json!({"targetRef": target, "requiredAuthenticationRefs": required});
        self.object(Kind::AuthorizationPolicy, name, spec)
    }

    pub(super) fn route(self, name: &str, rules: Value) -> Self {
        let spec = json!({"parentRefs": [on("Server", "s")], "rules": rules});
        self.object(Kind::LinkerdHTTPRoute, name, spec)
    }

    pub(super) fn made(&self) -> Made {
        let mut index = Index::new(Cluster::default());
        for pod in &self.pods {
            index.change(Change::Apply(Fact::Pod(Arc::new(pod.clone()))));
        }
        for object in &self.objects {
            index.change(Change::Apply(Fact::Policy(Arc::new(object.clone()))));
        }
        let graph = index.refresh().clone();
        let cluster = graph.cluster.as_deref().cloned().unwrap();
        Made {
            index: query::Index::of(&graph),
            metrics: Metrics::default(),
            policies: Policies::of(Objects::of_graph(&graph), &cluster),
            graph,
        }
    }

    /// The world after a flip, as if all of it had been written by hand.
    pub(super) fn after(&self, flip: &Flip) -> Self {
        let mut next = self.clone();
        for change in flip.changes() {
            next.objects.retain(|object| (object.kind, &object.key) != (change.kind, &change.key));
            next.objects.extend(change.object.map(|object| PolicyObject::clone(&object)));
        }
        next
    }

    /// The flips of a call to port 8080 of `db`.
    pub(super) fn flips(&self, from: &str, request: Option<&Request>) -> Vec<Flip> {
        let made = self.made();
        let checked = made.check(from, request);
        flips(&made.mesh(), &checked.accesses[0], request)
    }

    pub(super) fn decision(&self, from: &str, request: Option<&Request>) -> Decision {
        self.made().check(from, request).accesses[0].verdict.decision
    }
}

// === impl Made ===

impl Made {
    pub(super) fn mesh(&self) -> Mesh<'_> {
        let Self { graph, index, metrics, policies } = self;
        Mesh { graph, index, metrics, policies }
    }

    pub(super) fn check(&self, from: &str, request: Option<&Request>) -> Checked<'_> {
        self.check_to(from, "shop/deployment/db:8080", request)
    }

    pub(super) fn check_to(&self, from: &str, to: &str, request: Option<&Request>) -> Checked<'_> {
        let mesh = self.mesh();
        let from = Caller::resolve(&self.graph, from, Some("shop")).unwrap();
        let to = Callee::resolve(&self.graph, to, None, Some("shop")).unwrap();
        check(&mesh, &from, &to, request, None).unwrap()
    }
}

/// A reference to an object of Linkerd's group.
pub(super) fn on(kind: &str, name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": kind, "name": name})
}

pub(super) fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name})
}
