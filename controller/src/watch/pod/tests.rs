use super::*;
use crate::graph::fact::{Key, Labels, OwnerRef};
use serde_json::{Value, json};

fn pod(object: &Value) -> Pod {
    let Fact::Pod(pod) = fact(&object.to_string()).expect("a Pod") else { panic!("a Pod") };
    Pod::clone(&pod)
}

fn mk_labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    Arc::new(labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

fn mk_port(port: u16, name: &str) -> ContainerPort {
    ContainerPort { port, name: name.into(), protocol: "TCP".into() }
}

/// What the injector adds: the proxy as it is written by Linkerd, env and mounts included.
fn proxy_container(restart_policy: Value) -> Value {
    json!({
        "name": "linkerd-proxy",
        "image": "cr.l5d.io/linkerd/proxy:edge-26.1.1",
        "restartPolicy": restart_policy,
        "env": [{"name": "LINKERD2_PROXY_LOG", "value": "warn,linkerd=info"}],
        "ports": [
            {"containerPort": 4143, "name": "linkerd-proxy", "protocol": "TCP"},
            {"containerPort": 4191, "name": "linkerd-admin", "protocol": "TCP"}
        ],
        "volumeMounts": [{"mountPath": "/var/run/linkerd/identity/end-entity", "name": "linkerd-identity-end-entity"}]
    })
}

fn app_container() -> Value {
    json!({
        "name": "web", "image": "example/web:1",
        "env": [{"name": "PORT", "value": "8080"}],
        "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}}
    })
}

fn injected(init_containers: Value, containers: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-6f5d-x2x4q", "namespace": "shop", "generateName": "web-6f5d-", "resourceVersion": "99",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app": "web", "linkerd.io/control-plane-ns": "linkerd", "pod-template-hash": "6f5d"},
            "annotations": {
                "config.linkerd.io/default-inbound-policy": "cluster-authenticated",
                "config.linkerd.io/opaque-ports": "3306",
                "config.linkerd.io/proxy-log-level": "debug",
                "linkerd.io/created-by": "linkerd/proxy-injector edge-26.1.1",
                "linkerd.io/trust-root-sha256": "0123456789abcdef"
            },
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6f5d", "uid": "1",
                "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update",
                "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}}]
        },
        "spec": {
            "serviceAccountName": "web", "serviceAccount": "web", "nodeName": "n1",
            "initContainers": init_containers, "containers": containers,
            "volumes": [{"name": "linkerd-identity-end-entity", "emptyDir": {"medium": "Memory"}}]
        },
        "status": {
            "phase": "Running", "hostIP": "192.168.0.4", "podIP": "10.1.0.7",
            "podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd00::7"}],
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:09Z"}
            ]
        }
    })
}

fn proxy_port() -> ContainerPort {
    mk_port(4143, "linkerd-proxy")
}

fn admin_port() -> ContainerPort {
    mk_port(4191, "linkerd-admin")
}

fn expected(proxy: Proxy) -> Pod {
    Pod {
        key: Key::new("shop", "web-6f5d-x2x4q"),
        owner: Some(OwnerRef { kind: "ReplicaSet".into(), name: "web-6f5d".into() }),
        service_account: "web".into(),
        ips: vec!["10.1.0.7".parse().expect("an address"), "fd00::7".parse().expect("an address")],
        labels: mk_labels([
            ("app", "web"),
            ("linkerd.io/control-plane-ns", "linkerd"),
            ("pod-template-hash", "6f5d"),
        ]),
        annotations: mk_labels([
            ("config.linkerd.io/default-inbound-policy", "cluster-authenticated"),
            ("config.linkerd.io/opaque-ports", "3306"),
        ]),
        control_plane: Some("linkerd".into()),
        proxy,
        // The proxy's ports come in the order of the containers; without a proxy there are none.
        ports: match proxy {
            Proxy::Absent => Arc::new([mk_port(8080, "http")]),
            Proxy::Container => Arc::new([proxy_port(), admin_port(), mk_port(8080, "http")]),
            Proxy::NativeSidecar => Arc::new([mk_port(8080, "http"), proxy_port(), admin_port()]),
        },
        probes: Arc::new([Probe { port: 8080, path: "/ready".into() }]),
        ready: true,
        ended: false,
        host_network: false,
    }
}

#[test]
fn a_pod_injected_by_linkerd_2_20_has_a_native_sidecar() {
    let init = json!([{"name": "linkerd-init", "image": "x"}, proxy_container(json!("Always"))]);
    assert_eq!(pod(&injected(init, json!([app_container()]))), expected(Proxy::NativeSidecar));
}

#[test]
fn a_pod_injected_by_an_older_linkerd_has_a_proxy_container() {
    let init = json!([{"name": "linkerd-init", "image": "x"}]);
    let containers = json!([proxy_container(Value::Null), app_container()]);
    assert_eq!(pod(&injected(init, containers)), expected(Proxy::Container));
}

#[test]
fn linkerd_init_alone_is_no_proxy() {
    let init = json!([{"name": "linkerd-init", "image": "x"}]);
    assert_eq!(pod(&injected(init, json!([app_container()]))), expected(Proxy::Absent));
}

#[test]
fn an_init_container_of_the_proxys_name_that_ends_is_no_proxy() {
    let init = json!([proxy_container(Value::Null)]);
    let ports: Arc<[ContainerPort]> = Arc::new([mk_port(8080, "http"), proxy_port(), admin_port()]);
    assert_eq!(pod(&injected(init, json!([app_container()]))), Pod { ports, ..expected(Proxy::Absent) });
}

#[test]
fn ports_of_sidecars_and_init_containers_come_after_those_of_containers() {
    let init = json!([
        {"name": "migrate", "ports": [{"containerPort": 9000, "name": "debug"}]},
        {"name": "cache", "restartPolicy": "Always", "ports": [{"containerPort": 6379}]},
        proxy_container(json!("Always"))
    ]);
    assert_eq!(
        pod(&injected(init, json!([app_container()]))),
        Pod {
            ports: Arc::new([
                mk_port(8080, "http"),
                mk_port(9000, "debug"),
                mk_port(6379, ""),
                proxy_port(),
                admin_port(),
            ]),
            ..expected(Proxy::NativeSidecar)
        }
    );
}

#[test]
fn a_pod_ends_when_it_succeeded_or_failed() {
    for (phase, ended) in
        [("Pending", false), ("Running", false), ("Unknown", false), ("Succeeded", true), ("Failed", true)]
    {
        let mut object = injected(json!([]), json!([app_container()]));
        object["status"]["phase"] = json!(phase);
        assert_eq!(pod(&object), Pod { ended, ..expected(Proxy::Absent) }, "phase {phase}");
    }
}

#[test]
fn a_pod_in_the_hosts_network_is_never_meshed() {
    let mut object = injected(json!([]), json!([proxy_container(Value::Null), app_container()]));
    object["spec"]["hostNetwork"] = json!(true);
    let pod = pod(&object);
    assert_eq!(pod, Pod { host_network: true, ..expected(Proxy::Container) });
    assert!(!pod.meshed());
}

#[test]
fn a_pod_that_was_just_created_has_no_address_and_is_not_ready() {
    let object = json!({
        "metadata": {"name": "bare", "namespace": "shop", "labels": null, "annotations": null},
        "spec": {"containers": [{"name": "web"}]},
        "status": {"phase": "Pending"}
    });
    assert_eq!(
        pod(&object),
        Pod {
            key: Key::new("shop", "bare"),
            owner: None,
            service_account: "default".into(),
            ips: Vec::new(),
            labels: Labels::default(),
            annotations: Labels::default(),
            control_plane: None,
            proxy: Proxy::Absent,
            ports: Arc::new([]),
            probes: Arc::new([]),
            ready: false,
            ended: false,
            host_network: false,
        }
    );
}

#[test]
fn a_pod_whose_containers_are_no_list_is_an_error() {
    let object = json!({"metadata": {"name": "x", "namespace": "shop"}, "spec": {"containers": "web"}});
    assert!(matches!(fact(&object.to_string()), Err(FactError::Shape(_))));
}
