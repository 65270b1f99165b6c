//! The Kubernetes objects of the simulated mesh, as a cluster with Linkerd 2.20 has them.

use super::mesh::{Mesh, Namespace, Pod, Service, Workload, WorkloadIndex, WorkloadKind};
use crate::graph::kind::Kind;
use serde_json::{Map, Value, json};

pub(super) mod policy;

/// The release whose proxies are simulated.
const PROXY_VERSION: &str = "edge-26.8.3";

/// When the simulation began, for timestamps: 2026-01-05T08:00:00Z.
const BEGAN: i64 = 1_767_600_000;

/// Every watched object.
pub(super) fn all(mesh: &Mesh) -> Vec<(Kind, Value)> {
    let mut objects = Vec::new();
    for of in &mesh.namespaces {
        objects.push((Kind::Namespace, namespace(of)));
        objects.push((Kind::ServiceAccount, account(&of.name, "default")));
    }
    for workload in &mesh.workloads {
        if workload.account != "default" {
            objects.push((Kind::ServiceAccount, account(&workload.namespace, &workload.account)));
        }
        objects.extend(owner(workload));
        objects.extend(workload.pods.iter().map(|of| (Kind::Pod, pod(workload, of, 0))));
    }
    for index in 0..mesh.services.len() {
        objects.push((Kind::Service, service(mesh, &mesh.services[index])));
        objects.push((Kind::EndpointSlice, endpoint_slice(mesh, index)));
    }
    objects.extend(policy::all(mesh));
    objects
}

/// The EndpointSlices that list pods of a workload.
pub(super) fn slices_of(mesh: &Mesh, workload: WorkloadIndex) -> Vec<(Kind, Value)> {
    let of = |(index, service): (usize, &Service)| {
        (service.workload == workload).then(|| (Kind::EndpointSlice, endpoint_slice(mesh, index)))
    };
    mesh.services.iter().enumerate().filter_map(of).collect()
}

/// Metadata with what the API server adds.
fn metadata(namespace: &str, name: &str, second: u64) -> Value {
    let mut metadata = json!({
        "name": name,
        "uid": uid(namespace, name),
        "resourceVersion": "1000",
        "generation": 1,
        "creationTimestamp": time(second),
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

/// `second` of the simulation as Kubernetes writes times.
fn time(second: u64) -> String {
    let second = BEGAN.saturating_add(i64::try_from(second).unwrap_or(i64::MAX));
    k8s_openapi::jiff::Timestamp::from_second(second).map_or_else(|_| String::new(), |time| time.to_string())
}

/// In the form of a UUID, always the same for the same object.
fn uid(namespace: &str, name: &str) -> String {
    let hash = crate::graph::wire::fnv1a(format!("{namespace}/{name}").as_bytes());
    let [a, b, c, d] = [hash >> 32, (hash >> 16) & 0xffff, hash & 0xfff, (hash >> 8) & 0xffff];
    format!("{a:08x}-{b:04x}-4{c:03x}-a{:03x}-{:012x}", d & 0xfff, hash & 0xffff_ffff_ffff)
}

fn owned_by(metadata: &mut Value, api_version: &str, kind: &str, name: &str) {
    let namespace = metadata["namespace"].as_str().unwrap_or_default().to_owned();
    metadata["ownerReferences"] = json!([{
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid(&namespace, name),
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
}

fn namespace(of: &Namespace) -> Value {
    let mut metadata = metadata("", &of.name, 0);
    metadata["labels"] = json!({"kubernetes.io/metadata.name": of.name});
    if of.name == super::mesh::LINKERD {
        metadata["labels"]["linkerd.io/is-control-plane"] = "true".into();
        metadata["labels"]["linkerd.io/control-plane-ns"] = of.name.as_str().into();
        metadata["annotations"] = json!({"linkerd.io/inject": "disabled"});
    } else if of.meshed {
        metadata["annotations"] = json!({"linkerd.io/inject": "enabled"});
    }
    if let Some(extension) = of.extension {
        metadata["labels"]["linkerd.io/extension"] = extension.into();
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(namespace, name, 0)})
}

/// What stands between a workload's pods and the workload.
fn owner(workload: &Workload) -> Option<(Kind, Value)> {
    let (_, name) = workload.owner()?;
    let mut metadata = metadata(&workload.namespace, &name, 0);
    match workload.kind {
        WorkloadKind::Deployment => {
            owned_by(&mut metadata, "apps/v1", "Deployment", &workload.name);
            metadata["labels"] = json!({"app": workload.name, "pod-template-hash": workload.template_hash()});
            Some((
                Kind::ReplicaSet,
                json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata}),
            ))
        }
        WorkloadKind::CronJob => {
            owned_by(&mut metadata, "batch/v1", "CronJob", &workload.name);
            Some((Kind::Job, json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata})))
        }
        WorkloadKind::StatefulSet | WorkloadKind::Pod => None,
    }
}

/// A pod as the injector and kubelet leave it.
pub(super) fn pod(workload: &Workload, pod: &Pod, second: u64) -> Value {
    let mut metadata = metadata(&workload.namespace, &pod.name, second);
    if let Some((kind, name)) = workload.owner() {
        let api_version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        owned_by(&mut metadata, api_version, kind, &name);
    }
    metadata["labels"] = pod_labels(workload, pod);
    let opaque: Vec<String> =
        workload.ports.iter().filter(|port| port.opaque).map(|port| port.number.to_string()).collect();
    let mut annotations = Map::new();
    if workload.meshed {
        let by = format!("linkerd/proxy-injector {PROXY_VERSION}");
        annotations.insert("linkerd.io/created-by".to_owned(), by.into());
        annotations.insert("linkerd.io/inject".to_owned(), "enabled".into());
        annotations.insert("linkerd.io/proxy-version".to_owned(), PROXY_VERSION.into());
        annotations.insert("viz.linkerd.io/tap-enabled".to_owned(), "true".into());
        if !opaque.is_empty() {
            annotations.insert("config.linkerd.io/opaque-ports".to_owned(), opaque.join(",").into());
        }
    }
    metadata["annotations"] = annotations.into();
    let ports: Vec<Value> = workload
        .ports
        .iter()
        .map(|port| json!({"name": port.name, "containerPort": port.number, "protocol": "TCP"}))
        .collect();
    let mut spec = json!({
        "nodeName": pod.node,
        "serviceAccountName": workload.account,
        "restartPolicy": if workload.kind == WorkloadKind::CronJob { "Never" } else { "Always" },
        "containers": [{"name": workload.name, "image": format!("example/{}:1", workload.name), "ports": ports}],
    });
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": time(second + 5)});
    let mut status = json!({
        "phase": "Running",
        "podIP": pod.ip,
        "podIPs": [{"ip": pod.ip}],
        "startTime": time(second),
        "conditions": [ready],
    });
    if workload.meshed {
        spec["initContainers"] = json!([init_container(), proxy_container(workload)]);
        status["initContainerStatuses"] = json!([
            {"name": "linkerd-init", "ready": true, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
            {"name": "linkerd-proxy", "ready": true, "started": true, "state": {"running": {"startedAt": time(second)}}},
        ]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})
}

fn pod_labels(workload: &Workload, pod: &Pod) -> Value {
    let mut labels = json!({"app": workload.name});
    match workload.kind {
        WorkloadKind::Deployment => labels["pod-template-hash"] = workload.template_hash().into(),
        WorkloadKind::StatefulSet => labels["statefulset.kubernetes.io/pod-name"] = pod.name.as_str().into(),
        WorkloadKind::CronJob => {
            labels["job-name"] = workload.owner().map(|(_, name)| name).unwrap_or_default().into();
        }
        WorkloadKind::Pod => {}
    }
    if workload.meshed {
        labels["linkerd.io/control-plane-ns"] = super::mesh::LINKERD.into();
        labels["linkerd.io/workload-ns"] = workload.namespace.as_str().into();
        if let Some(kind) = workload.owner_label() {
            labels[format!("linkerd.io/proxy-{kind}")] = workload.name.as_str().into();
        }
    }
    labels
}

fn init_container() -> Value {
    json!({
        "name": "linkerd-init",
        "image": "cr.l5d.io/linkerd/proxy-init:v2.4.3",
        "args": ["--incoming-proxy-port", "4143", "--outgoing-proxy-port", "4140", "--proxy-uid", "2102"],
    })
}

/// A native sidecar: an init container that goes on running.
fn proxy_container(workload: &Workload) -> Value {
    let identity = "$(_pod_sa).$(_pod_ns).serviceaccount.identity.linkerd.cluster.local";
    json!({
        "name": "linkerd-proxy",
        "image": format!("cr.l5d.io/linkerd/proxy:{PROXY_VERSION}"),
        "restartPolicy": "Always",
        "ports": [
            {"name": "linkerd-proxy", "containerPort": 4143, "protocol": "TCP"},
            {"name": "linkerd-admin", "containerPort": super::mesh::ADMIN_PORT, "protocol": "TCP"},
        ],
        "livenessProbe": {"httpGet": {"path": "/live", "port": super::mesh::ADMIN_PORT}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": super::mesh::ADMIN_PORT}},
        "env": [
            {"name": "_pod_sa", "value": workload.account},
            {"name": "_pod_ns", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "value": super::mesh::DEFAULT_POLICY},
            {"name": "LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "value": identity},
        ],
    })
}

fn service(mesh: &Mesh, of: &Service) -> Value {
    let workload = &mesh.workloads[of.workload];
    let port = workload.ports.iter().find(|port| port.number == of.target_port);
    let mut metadata = metadata(&of.namespace, &of.name, 0);
    if port.is_some_and(|port| port.opaque) {
        metadata["annotations"] = json!({"config.linkerd.io/opaque-ports": of.port.to_string()});
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "ClusterIP",
            "clusterIP": of.cluster_ip,
            "clusterIPs": [of.cluster_ip],
            "selector": {"app": workload.name},
            "ports": [{
                "name": port.map_or("http", |port| port.name),
                "port": of.port,
                "protocol": "TCP",
                "targetPort": port.map_or_else(|| json!(of.target_port), |port| json!(port.name)),
            }],
        },
    })
}

fn endpoint_slice(mesh: &Mesh, index: usize) -> Value {
    let of = &mesh.services[index];
    let workload = &mesh.workloads[of.workload];
    let name = format!("{}-{}", of.name, super::mesh::scrambled(&format!("{}/{}", of.namespace, of.name), 5));
    let mut metadata = metadata(&of.namespace, &name, 0);
    metadata["labels"] = json!({
        "kubernetes.io/service-name": of.name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    owned_by(&mut metadata, "v1", "Service", &of.name);
    let endpoint = |pod: &Pod| {
        json!({
            "addresses": [pod.ip],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": pod.node,
            "zone": pod.zone,
            "targetRef": {
                "kind": "Pod",
                "namespace": of.namespace,
                "name": pod.name,
                "uid": uid(&of.namespace, &pod.name),
            },
        })
    };
    let endpoints: Vec<Value> = workload.pods.iter().map(endpoint).collect();
    let port =
        workload.ports.iter().find(|port| port.number == of.target_port).map_or("http", |port| port.name);
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "ports": [{"name": port, "port": of.target_port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}
