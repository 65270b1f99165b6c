//! Objects as the API server of a cluster with Linkerd sends them, with all that nobody needs here.

use serde_json::{Map, Value, json};

pub(crate) const PER_NAMESPACE: usize = 25;

/// What the injector sets in a proxy's environment, about.
const PROXY_ENV: [(&str, &str); 36] = [
    ("_pod_name", ""),
    ("_pod_ns", ""),
    ("_pod_nodeName", ""),
    ("LINKERD2_PROXY_CORES", "1"),
    ("LINKERD2_PROXY_LOG", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off"),
    ("LINKERD2_PROXY_LOG_FORMAT", "plain"),
    ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
    (
        "LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS",
        "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8",
    ),
    ("LINKERD2_PROXY_POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
    ("LINKERD2_PROXY_POLICY_WORKLOAD", r#"{"ns":"$(_pod_ns)", "pod":"$(_pod_name)"}"#),
    ("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
    (
        "LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS",
        "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8",
    ),
    ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
    ("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
    ("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "1h"),
    ("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", "100ms"),
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
    ("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s"),
    ("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s"),
    ("LINKERD2_PROXY_CONTROL_LISTEN_ADDR", "0.0.0.0:4190"),
    ("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", "0.0.0.0:4191"),
    ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140"),
    ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "0.0.0.0:4143"),
    ("LINKERD2_PROXY_INBOUND_IPS", ""),
    ("LINKERD2_PROXY_INBOUND_PORTS", "8080"),
    ("LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local."),
    ("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
    ("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
    ("LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "25,587,3306,4444,5432,6379,9300,11211"),
    (
        "LINKERD2_PROXY_DESTINATION_CONTEXT",
        r#"{"ns":"$(_pod_ns)", "nodeName":"$(_pod_nodeName)", "pod":"$(_pod_name)"}"#,
    ),
    ("_pod_sa", ""),
    ("_l5d_ns", "linkerd"),
    ("_l5d_trustdomain", "cluster.local"),
    ("LINKERD2_PROXY_IDENTITY_DIR", "/var/run/linkerd/identity/end-entity"),
    (
        "LINKERD2_PROXY_IDENTITY_LOCAL_NAME",
        "$(_pod_sa).$(_pod_ns).serviceaccount.identity.linkerd.cluster.local",
    ),
    (
        "LINKERD2_PROXY_DESTINATION_SVC_NAME",
        "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local",
    ),
];

fn team(at: usize) -> String {
    format!("team-{:03}", at / PER_NAMESPACE)
}

fn name(at: usize) -> String {
    const TRADES: [&str; 10] = [
        "gateway", "accounts", "orders", "catalog", "payments", "search", "cart", "pricing", "stock", "mail",
    ];
    format!("{}-{at}", TRADES[at % TRADES.len()])
}

/// Letters as Kubernetes draws them for names, always the same for the same numbers.
fn drawn(at: usize, nth: usize, len: usize) -> String {
    let mut seed = (at as u64 + 1) * 1_000_003 + nth as u64;
    let mut letter = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b"bcdfghjklmnpqrstvwxz2456789"[(seed >> 33) as usize % 27])
    };
    (0..len).map(|_| letter()).collect()
}

fn hash(at: usize, nth: usize) -> String {
    drawn(at, nth, 10)
}

fn pod_name(at: usize, nth: usize) -> String {
    format!("{}-{}-{}", name(at), hash(at, 0), drawn(at, nth + 100, 5))
}

fn ip(high: usize, at: usize) -> String {
    format!("10.{high}.{}.{}", at / 250, at % 250)
}

fn uid(at: usize, nth: usize) -> String {
    format!("{at:08x}-0000-4000-8000-{nth:012x}")
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = json!({
        "name": name, "uid": uid(name.len(), 1), "resourceVersion": "184467440", "generation": 3,
        "creationTimestamp": "2026-01-05T08:00:00Z",
        "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
            "time": "2026-01-05T08:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:ownerReferences": {}}}}],
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn owner(api: &str, kind: &str, name: &str) -> Value {
    json!([{"apiVersion": api, "kind": kind, "name": name, "uid": uid(name.len(), 2), "controller": true, "blockOwnerDeletion": true}])
}

pub(crate) fn namespace(nth: usize) -> String {
    let name = format!("team-{nth:03}");
    let mut metadata = metadata("", &name);
    metadata["labels"] = json!({"kubernetes.io/metadata.name": name});
    metadata["annotations"] = json!({"linkerd.io/inject": "enabled"});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string()
}

pub(crate) fn account(at: usize) -> String {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(&team(at), &name(at))})
        .to_string()
}

pub(crate) fn replica_set(at: usize, nth: usize) -> String {
    let mut metadata = metadata(&team(at), &format!("{}-{}", name(at), hash(at, nth)));
    metadata["labels"] = json!({"app": name(at), "pod-template-hash": hash(at, nth)});
    metadata["ownerReferences"] = owner("apps/v1", "Deployment", &name(at));
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata}).to_string()
}

pub(crate) fn service(at: usize) -> String {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(&team(at), &name(at)),
        "spec": {"type": "ClusterIP", "clusterIP": ip(96, at), "clusterIPs": [ip(96, at)], "selector": {"app": name(at)},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
    })
    .to_string()
}

pub(crate) fn slice(at: usize, pods: usize) -> String {
    let mut metadata = metadata(&team(at), &format!("{}-{}", name(at), drawn(at, 7, 5)));
    metadata["labels"] = json!({"kubernetes.io/service-name": name(at), "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    metadata["ownerReferences"] = owner("v1", "Service", &name(at));
    let endpoint = |nth: usize| {
        json!({
            "addresses": [ip(4, at * 10 + nth)], "nodeName": format!("node-{}", at % 200), "zone": "eu-west-1a",
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": team(at), "name": pod_name(at, nth), "uid": uid(at, nth)},
        })
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..pods).map(endpoint).collect::<Vec<_>>(),
    })
    .to_string()
}

/// An injected pod, about 18 KB.
pub(crate) fn pod(at: usize, nth: usize) -> String {
    let mut metadata = metadata(&team(at), &pod_name(at, nth));
    let replica_set = format!("{}-{}", name(at), hash(at, 0));
    metadata["ownerReferences"] = owner("apps/v1", "ReplicaSet", &replica_set);
    metadata["labels"] = json!({
        "app": name(at), "app.kubernetes.io/name": name(at), "app.kubernetes.io/part-of": "shop", "version": "v1",
        "pod-template-hash": hash(at, 0), "linkerd.io/control-plane-ns": "linkerd",
        "linkerd.io/proxy-deployment": name(at), "linkerd.io/workload-ns": team(at),
    });
    metadata["annotations"] = json!({
        "linkerd.io/created-by": "linkerd/proxy-injector edge-26.8.3", "linkerd.io/inject": "enabled",
        "linkerd.io/proxy-version": "edge-26.8.3", "viz.linkerd.io/tap-enabled": "true",
        "linkerd.io/trust-root-sha256": "0f3bd1a5e5a57d4ac1b9b34b4d5f7e68f1a3f9c2f57f7d9c2a7d7c3d1a2b3c4d",
        "prometheus.io/scrape": "true", "prometheus.io/port": "9090",
        "kubectl.kubernetes.io/restartedAt": "2026-01-04T07:00:00Z",
    });
    metadata["managedFields"] = json!([managed("kube-controller-manager"), kubelet_managed()]);
    let env = |(name, value): &(&str, &str)| match *value {
        "" => {
            json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}})
        }
        value => json!({"name": name, "value": value}),
    };
    let probe = |path: &str, port: Value| json!({"httpGet": {"path": path, "port": port, "scheme": "HTTP"}, "initialDelaySeconds": 10, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
    let mounts = json!([
        {"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
        {"name": "linkerd-identity-end-entity", "mountPath": "/var/run/linkerd/identity/end-entity"},
        {"name": "linkerd-identity-token", "mountPath": "/var/run/secrets/tokens"},
    ]);
    let security = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true, "runAsUser": 2102, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    let resources = json!({"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}});
    let status = |container: &str| {
        json!({
            "name": container, "ready": true, "started": true, "restartCount": 0,
            "image": format!("registry.example.com/{container}:1.4.2"),
            "imageID": "registry.example.com/app@sha256:0f3bd1a5e5a57d4ac1b9b34b4d5f7e68f1a3f9c2f57f7d9c2a7d7c3d1a2b3c4d",
            "containerID": "containerd://0f3bd1a5e5a57d4ac1b9b34b4d5f7e68f1a3f9c2f57f7d9c2a7d7c3d1a2b3c4d",
            "state": {"running": {"startedAt": "2026-01-05T08:00:05Z"}}, "lastState": {},
        })
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-01-05T08:00:10Z"});
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .map(condition);
    let app_env: Vec<Value> = (0..10).map(|nth| json!({"name": format!("SETTING_{nth}"), "value": format!("http://other-{nth}.{}.svc.cluster.local:8080", team(at))})).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {
            "nodeName": format!("node-{}", at % 200), "serviceAccountName": name(at), "serviceAccount": name(at),
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "securityContext": {"runAsNonRoot": true}, "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "initContainers": [
                {"name": "linkerd-init", "image": "cr.l5d.io/linkerd/proxy-init:v2.4.3", "imagePullPolicy": "IfNotPresent",
                 "args": ["--ipv6=false", "--incoming-proxy-port", "4143", "--outgoing-proxy-port", "4140", "--proxy-uid", "2102", "--inbound-ports-to-ignore", "4190,4191,4567,4568", "--outbound-ports-to-ignore", "4567,4568"],
                 "resources": resources, "securityContext": security, "volumeMounts": mounts, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "FallbackToLogsOnError"},
                {"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:edge-26.8.3", "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
                 "env": PROXY_ENV.iter().map(env).collect::<Vec<_>>(),
                 "ports": [{"name": "linkerd-proxy", "containerPort": 4143, "protocol": "TCP"}, {"name": "linkerd-admin", "containerPort": 4191, "protocol": "TCP"}],
                 "livenessProbe": probe("/live", json!(4191)), "readinessProbe": probe("/ready", json!(4191)), "startupProbe": probe("/ready", json!(4191)),
                 "lifecycle": {"postStart": {"exec": {"command": ["/usr/lib/linkerd/linkerd-await", "--timeout=2m", "--port=4191"]}}},
                 "resources": resources, "securityContext": security, "volumeMounts": mounts, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "FallbackToLogsOnError"}],
            "containers": [
                {"name": "app", "image": format!("registry.example.com/{}:1.4.2", name(at)), "imagePullPolicy": "IfNotPresent",
                 "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "metrics", "containerPort": 9090, "protocol": "TCP"}],
                 "env": app_env, "livenessProbe": probe("/live", json!("http")), "readinessProbe": probe("/ready", json!("http")),
                 "resources": resources, "securityContext": security, "volumeMounts": mounts, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "volumes": [
                {"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}, {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}, {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}},
                {"name": "linkerd-identity-end-entity", "emptyDir": {"medium": "Memory"}},
                {"name": "linkerd-identity-token", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"audience": "identity.l5d.io", "expirationSeconds": 86400, "path": "linkerd-identity-token"}}]}}],
        },
        "status": {
            "phase": "Running", "hostIP": "192.168.0.7", "hostIPs": [{"ip": "192.168.0.7"}], "podIP": ip(4, at * 10 + nth), "podIPs": [{"ip": ip(4, at * 10 + nth)}],
            "startTime": "2026-01-05T08:00:00Z", "qosClass": "Burstable",
            "conditions": conditions,
            "initContainerStatuses": [status("linkerd-init"), status("linkerd-proxy")],
            "containerStatuses": [status("app")],
        },
    })
    .to_string()
}

/// Who set what, as the API server keeps it: a key for every variable of the environment.
fn managed(manager: &str) -> Value {
    let variable = |(name, _): &(&str, &str)| {
        let key = format!(r#"k:{{"name":"{name}"}}"#);
        (key, json!({".": {}, "f:name": {}, "f:value": {}}))
    };
    let env: Map<String, Value> = PROXY_ENV.iter().map(variable).collect();
    let container = json!({".": {}, "f:env": env, "f:image": {}, "f:imagePullPolicy": {}, "f:livenessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}, "f:scheme": {}}, "f:periodSeconds": {}, "f:successThreshold": {}, "f:timeoutSeconds": {}}, "f:name": {}, "f:resources": {}, "f:securityContext": {".": {}, "f:allowPrivilegeEscalation": {}, "f:readOnlyRootFilesystem": {}}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}, "f:volumeMounts": {}});
    json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": "2026-01-05T08:00:00Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:linkerd.io/inject": {}}, "f:generateName": {}, "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}, "f:ownerReferences": {}},
            "f:spec": {"f:containers": {r#"k:{"name":"app"}"#: container.clone()}, "f:initContainers": {r#"k:{"name":"linkerd-proxy"}"#: container}, "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {}, "f:serviceAccount": {}, "f:serviceAccountName": {}, "f:volumes": {}}}})
}

fn kubelet_managed() -> Value {
    let condition = |kind: &str| {
        (
            format!(r#"k:{{"type":"{kind}"}}"#),
            json!({".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}),
        )
    };
    let conditions: Map<String, Value> =
        ["ContainersReady", "Initialized", "PodReadyToStartContainers", "Ready"]
            .into_iter()
            .map(condition)
            .collect();
    json!({"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-01-05T08:00:10Z", "subresource": "status", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": {"f:conditions": conditions, "f:containerStatuses": {}, "f:hostIP": {}, "f:initContainerStatuses": {}, "f:phase": {}, "f:podIP": {}, "f:podIPs": {}, "f:startTime": {}}}})
}
