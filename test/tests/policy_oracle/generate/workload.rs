//! Pods and ExternalWorkloads, with annotations good and bad.

use super::{DEFAULTS, Dice, NAMES_OF_PORTS, PORTS, World, labels, namespace, object};
use serde_json::{Map, Value, json};

fn annotations(dice: &mut Dice) -> Value {
    let ports =
        ["8080", "80,8080", "8000-9000", " 80 , 9090", "8080,http", "0,8080", "9000-8000,8080", "http"];
    let mut annotations = Map::new();
    let mut set =
        |name: &str, value: &str| annotations.insert(format!("config.linkerd.io/{name}"), json!(value));
    match dice.roll(6) {
        0 => {}
        1 => drop(set("default-inbound-policy", dice.pick(&["Deny", "", "none", "all-authenticated "]))),
        2 | 3 => drop(set("default-inbound-policy", "deny")),
        _ => drop(set("default-inbound-policy", dice.pick(&DEFAULTS))),
    }
    if dice.one_in(4) {
        set("opaque-ports", dice.pick(&ports));
    }
    if dice.one_in(4) {
        set("proxy-require-identity-inbound-ports", dice.pick(&ports));
    }
    if dice.one_in(12) {
        set("skip-inbound-ports", dice.pick(&["8080", "80,9000-9100"]));
    }
    Value::Object(annotations)
}

pub(super) fn pod(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let mut containers = dice.some(1..=2, container);
    let mut init = Vec::new();
    if dice.one_in(4) {
        init.push(container(dice));
    }
    let proxy = json!({
        "name": "linkerd-proxy",
        "image": "proxy:1",
        "ports": [{"containerPort": 4191, "name": "linkerd-admin"}],
        "livenessProbe": {"httpGet": {"path": "/live", "port": 4191}},
    });
    let is_meshed = !dice.one_in(12);
    match dice.roll(3) {
        0 if is_meshed => containers.push(proxy),
        1 if is_meshed => init.push(proxy),
        _ => {}
    }
    let spec = json!({"serviceAccountName": dice.pick(&["web", "web", "bot", "web.x"]), "containers": containers, "initContainers": init});
    let mut pod = object("v1", "Pod", namespace, &format!("pod{at}"), dice, spec);
    pod["metadata"]["labels"] = labels(dice);
    pod["metadata"]["annotations"] = annotations(dice);
    if is_meshed {
        pod["metadata"]["labels"]["linkerd.io/control-plane-ns"] = json!(dice.pick(&["linkerd", ""]));
    }
    pod["status"] = json!({"phase": "Running", "podIP": format!("10.9.0.{at}")});
    pod
}

fn container(dice: &mut Dice) -> Value {
    let mut ports = dice.some(1..=3, |dice| {
        let mut port = json!({"containerPort": dice.pick(&PORTS)});
        if dice.one_in(3) {
            port["protocol"] = json!(dice.pick(&["TCP", "TCP", "UDP"]));
        }
        port
    });
    // Within a container a name is one port's: Kubernetes refuses others.
    let mut names = NAMES_OF_PORTS;
    if dice.one_in(3) {
        dice.shuffle(&mut names);
    }
    for (port, name) in ports.iter_mut().zip(names) {
        if !dice.one_in(4) {
            port["name"] = json!(name);
        }
    }
    let mut container = json!({"name": "main", "image": "main:1", "ports": ports});
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if dice.one_in(4) {
            let port = dice.pick(&[json!(8080), json!(80), json!("http"), json!("HTTP"), json!("admin")]);
            let mut get = json!({"port": port});
            match dice.roll(6) {
                0 => {}
                1 => get["path"] = json!("live"),
                2 => get["path"] = json!("/live?full=1"),
                3 => get["path"] = json!("/ready"),
                _ => get["path"] = json!("/live"),
            }
            if dice.one_in(4) {
                get["scheme"] = json!("HTTPS");
            }
            container[probe] = match dice.roll(6) {
                0 => json!({"tcpSocket": {"port": 8080}}),
                1 => json!({"grpc": {"port": 8080}}),
                _ => json!({"httpGet": get}),
            };
        }
    }
    container
}

pub(super) fn external_workload(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let ports = dice.some(0..=3, |dice| {
        json!({"port": dice.pick(&PORTS), "name": dice.pick(&NAMES_OF_PORTS), "protocol": dice.pick(&["TCP", "UDP"])})
    });
    let spec = json!({
        "meshTLS": {"identity": "spiffe://root.example/vm", "serverName": "vm.example"},
        "workloadIPs": [{"ip": "192.0.2.10"}],
        "ports": ports,
    });
    let mut workload =
        object("workload.linkerd.io/v1beta1", "ExternalWorkload", namespace, &format!("vm{at}"), dice, spec);
    workload["metadata"]["labels"] = labels(dice);
    workload["metadata"]["annotations"] = annotations(dice);
    workload["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("config.linkerd.io/skip-inbound-ports");
    workload
}

/// Meshed pods and a VM that do nothing but give the mesh their identities; names of accounts may have dots.
pub(crate) fn clients(world: &World) -> Vec<Value> {
    let accounts = ["web", "bot", "web.x"].into_iter().flat_map(|account| [("a", account), ("b", account)]);
    let pod = |(namespace, account): (&str, &str)| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": namespace,
                "name": format!("client-{account}"),
                "labels": {"linkerd.io/control-plane-ns": world.cluster["control_plane_namespace"]},
            },
            "spec": {
                "serviceAccountName": account,
                "containers": [{"name": "linkerd-proxy", "image": "proxy:1"}],
            },
            "status": {"phase": "Running"},
        })
    };
    let outside = json!({
        "apiVersion": "workload.linkerd.io/v1beta1",
        "kind": "ExternalWorkload",
        "metadata": {"namespace": "b", "name": "client-vm"},
        "spec": {
            "meshTLS": {"identity": "spiffe://root.example/vm", "serverName": "vm.example"},
            "workloadIPs": [{"ip": "192.0.2.11"}],
            "ports": [],
        },
    });
    accounts.map(pod).chain([outside]).collect()
}
