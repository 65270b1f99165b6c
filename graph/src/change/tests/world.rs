//! A small mesh with calls in it.
//!
//! Deployments `db`, `web` and `bot` in `shop`, `web` in `other`, `prometheus` in `linkerd-viz` are meshed, `old` in
//! `legacy` is not. `db` has port 8080 named `http` with a probe on it, and 9090 named `admin`. Service `shop/db` leads to
//! both, from 80 and 9090.

use crate::{
    assemble::Cluster,
    change::{Edit, Manifest},
    fact::{
        Change, ContainerPort, EndpointSlice, EndpointTarget, Fact, Key, Labels, OwnerRef, Pod, PolicyObject,
        Probe, Proxy, Service, ServicePort,
    },
    id::{EdgeId, Text},
    index::Index,
    kind::Kind,
    metrics::{EdgeMetrics, Metrics},
    model::{Edge, Graph, ObservedBy, Protocol, Tls},
    policy::{ObjectChange, Objects, Policies, PolicyCluster, ask::Mesh},
    query,
    status::MetricsStatus,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// What there is.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pods: Vec<Pod>,
    pub(super) objects: Vec<PolicyObject>,
    edges: Vec<(Edge, EdgeMetrics)>,
}

/// A mesh assembled from nothing but a world.
pub(super) struct Made {
    pub(super) graph: Graph,
    index: query::Index,
    metrics: Metrics,
    pub(super) policies: Policies,
}

pub(super) fn identity(namespace: &str, name: &str) -> Text {
    PolicyCluster::default().identity(namespace, name)
}

fn pod(namespace: &str, name: &str, ip: &str, meshed: bool) -> Pod {
    let mut labels = vec![("app", name)];
    if meshed {
        labels.push(("linkerd.io/control-plane-ns", "linkerd"));
    }
    let port = |port: u16, name: &str| ContainerPort { port, name: name.into(), protocol: "TCP".into() };
    Pod {
        key: Key::new(namespace, format!("{name}-1").as_str()),
        owner: Some(OwnerRef { kind: "Deployment".into(), name: name.into() }),
        service_account: name.into(),
        ips: vec![ip.parse().unwrap()],
        labels: Arc::new(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect()),
        annotations: Labels::default(),
        control_plane: meshed.then(|| "linkerd".into()),
        proxy: if meshed { Proxy::NativeSidecar } else { Proxy::Absent },
        ports: [port(8080, "http"), port(9090, "admin")].into(),
        probes: [Probe { port: 8080, path: "/live".into() }].into(),
        ready: true,
        ended: false,
        host_network: false,
    }
}

/// An edge over HTTP; over mutual TLS where the client is meshed.
pub(super) fn edge(src: &str, dst: &str, client: Option<&str>) -> Edge {
    Edge {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        protocol: Protocol::Http,
        tls: match client {
            Some(_) => Tls::Mutual,
            None => Tls::No { reason: "no_tls_from_remote".into() },
        },
        client_identity: client.map(Text::from),
        server_identities: Vec::new(),
        workloads: Vec::new(),
        backends: Vec::new(),
        observed_by: ObservedBy::Client,
        candidates: Vec::new(),
        target_cluster: None,
    }
}

/// The manifest of an object in `shop`.
pub(super) fn manifest(kind: Kind, name: &str, spec: Value) -> Manifest {
    manifest_in("shop", kind, name, spec)
}

pub(super) fn manifest_in(namespace: &str, kind: Kind, name: &str, spec: Value) -> Manifest {
    let row = kind.row();
    let live = json!({
        "apiVersion": format!("{}/{}", row.group, row.versions[0]),
        "kind": row.name,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    });
    Manifest::of_live(&live).unwrap()
}

/// A reference to an object of Linkerd's group.
pub(super) fn on(kind: &str, name: &str) -> Value {
    json!({"group": "policy.linkerd.io", "kind": kind, "name": name})
}

pub(super) fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name})
}

/// The spec of a Server on a port of `db`.
pub(super) fn server_spec(port: Value, fields: Value) -> Value {
    let mut spec = json!({"podSelector": {"matchLabels": {"app": "db"}}, "port": port});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

/// The spec of an AuthorizationPolicy.
pub(super) fn policy_spec(target: Value, required: &[Value]) -> Value {
    json!({"targetRef": target, "requiredAuthenticationRefs": required})
}

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        Self::with_default("all-unauthenticated")
    }

    /// `default` is the default policy of `db`.
    pub(super) fn with_default(default: &str) -> Self {
        let annotation = ("config.linkerd.io/default-inbound-policy".into(), default.into());
        let db = Pod {
            annotations: Arc::new([annotation].into_iter().collect()),
            ..pod("shop", "db", "10.1.0.1", true)
        };
        let pods = vec![
            db,
            pod("shop", "web", "10.1.0.2", true),
            pod("shop", "bot", "10.1.0.3", true),
            pod("other", "web", "10.1.0.4", true),
            pod("linkerd-viz", "prometheus", "10.1.0.5", true),
            pod("legacy", "old", "10.2.0.9", false),
        ];
        Self { pods, ..Self::default() }
    }

    pub(super) fn object(self, kind: Kind, name: &str, spec: Value) -> Self {
        let minute = i64::try_from(self.objects.len()).unwrap() + 1;
        self.object_in("shop", kind, name, minute, spec)
    }

    pub(super) fn object_in(
        mut self,
        namespace: &str,
        kind: Kind,
        name: &str,
        minute: i64,
        spec: Value,
    ) -> Self {
        let created_ms = Some(minute * 60_000);
        self.objects.push(PolicyObject { created_ms, ..manifest_in(namespace, kind, name, spec).object() });
        self
    }

    /// An edge with this many calls per second.
    pub(super) fn calls(self, edge: Edge, rps: f64) -> Self {
        self.measured(edge, EdgeMetrics { rps: Some(rps), ..EdgeMetrics::default() })
    }

    pub(super) fn measured(mut self, edge: Edge, numbers: EdgeMetrics) -> Self {
        self.edges.push((edge, numbers));
        self
    }

    /// Calls of every sort to `db`.
    pub(super) fn with_calls(self) -> Self {
        let of = |namespace: &str, name: &str| identity(namespace, name);
        let (web, bot) = (of("shop", "web"), of("shop", "bot"));
        let (far, scraper) = (of("other", "web"), of("linkerd-viz", "prometheus"));
        let tcp = |edge: Edge| Edge { protocol: Protocol::Tcp, ..edge };
        self.calls(edge("shop/deployment/web", "shop/db:80", Some(&web)), 50.0)
            .calls(tcp(edge("shop/deployment/bot", "shop/db:80", Some(&bot))), 5.0)
            .calls(edge("other/deployment/web", "shop/deployment/db:8080", Some(&far)), 20.0)
            .calls(edge("linkerd-viz/deployment/prometheus", "shop/deployment/db:9090", Some(&scraper)), 0.1)
            .calls(edge("legacy/deployment/old", "shop/db:80", None), 2.0)
            .calls(edge("unmeshed:no_tls_from_remote", "shop/deployment/db:8080", None), 1.0)
            .calls(edge("shop/deployment/bot", "shop/db", Some(&bot)), 3.0)
            .calls(
                edge("identity:spiffe://root/vm", "shop/deployment/db:8080", Some("spiffe://root/vm")),
                4.0,
            )
            .calls(edge("shop/deployment/db", "shop/deployment/web:8080", Some(&of("shop", "db"))), 7.0)
    }

    pub(super) fn made(&self) -> Made {
        let mut index = Index::new(Cluster::default());
        for pod in &self.pods {
            index.change(Change::Apply(Fact::Pod(Arc::new(pod.clone()))));
        }
        for fact in service("db", &[(80, "http"), (9090, "9090")]) {
            index.change(Change::Apply(fact));
        }
        for object in &self.objects {
            index.change(Change::Apply(Fact::Policy(Arc::new(object.clone()))));
        }
        let mut graph = index.refresh().clone();
        let mut rows = Vec::new();
        for (edge, numbers) in &self.edges {
            let id = EdgeId::new(&edge.src, &edge.dst);
            graph.edges.insert(id.clone(), Arc::new(edge.clone()));
            rows.push((id, numbers.clone()));
        }
        let cluster = graph.cluster.as_deref().cloned().unwrap();
        Made {
            index: query::Index::of(&graph),
            metrics: Metrics::new(MetricsStatus { stale: false, ..MetricsStatus::default() }, rows),
            policies: Policies::of(Objects::of_graph(&graph), &cluster),
            graph,
        }
    }
}

fn service(name: &str, ports: &[(u16, &str)]) -> [Fact; 2] {
    let port = |(port, target): &(u16, &str)| ServicePort {
        port: *port,
        name: target.to_string().as_str().into(),
        protocol: "TCP".into(),
        target: (*target).into(),
    };
    let key = Key::new("shop", name);
    let service = Service {
        key: key.clone(),
        ports: ports.iter().map(port).collect(),
        cluster_ips: Vec::new(),
        opaque_ports: None,
        mirror_of: None,
        external_name: None,
    };
    let target = EndpointTarget::Pod(format!("{name}-1").as_str().into());
    let slice = EndpointSlice { key, service: Some(name.into()), targets: vec![target] };
    [Fact::Service(Arc::new(service)), Fact::EndpointSlice(Arc::new(slice))]
}

// === impl Made ===

impl Made {
    pub(super) fn mesh(&self) -> Mesh<'_> {
        let Self { graph, index, metrics, policies } = self;
        Mesh { graph, index, metrics, policies }
    }

    pub(super) fn put(&self, kind: Kind, name: &str, spec: Value) -> Edit {
        Edit::put(self.policies.objects(), &manifest(kind, name, spec))
    }

    pub(super) fn delete(&self, kind: Kind, name: &str) -> Edit {
        Edit::delete(self.policies.objects(), kind, Key::new("shop", name))
    }

    /// The policies after edits, read anew from all objects.
    pub(super) fn anew(&self, edits: &[Edit]) -> Policies {
        let mut objects = self.policies.objects().clone();
        for ObjectChange { kind, key, object } in crate::change::edit::changes(&objects.clone(), edits) {
            match object {
                Some(object) => objects.put(object),
                None => drop(objects.remove(kind, &key)),
            }
        }
        Policies::of(objects, self.policies.cluster())
    }
}
