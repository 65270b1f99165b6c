//! Random sets of objects and calls, from a small world in which names, labels, ports and addresses often meet. Values
//! that no rule of the oracle decides are left out; see its own documentation.

use linkerd_mcp_test::oracle::{Call, Caller, Workload};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

const POLICY: &str = "policy.linkerd.io";
const GATEWAY: &str = "gateway.networking.k8s.io";
const NAMES_OF_PORTS: [&str; 3] = ["http", "admin", "grpc"];
/// 8080 most often, so that Servers, probes, routes and questions meet there.
const PORTS: [u32; 6] = [8080, 8080, 8080, 80, 9090, 9999];
const DEFAULTS: [&str; 6] = [
    "all-unauthenticated",
    "all-authenticated",
    "cluster-unauthenticated",
    "cluster-authenticated",
    "deny",
    "audit",
];

/// Objects and the settings of the control plane that reads them.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) cluster: Value,
    pub(crate) objects: Vec<Value>,
}

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) caller: Caller,
    pub(crate) workload: Workload,
    pub(crate) port: u32,
    pub(crate) call: Option<Call>,
}

/// A source of choices; all of a world follow from its seed.
pub(crate) struct Dice {
    random: StdRng,
    /// What most identities end in: the control plane's namespace and the trust domain of the world.
    identities_end: &'static str,
    /// True for worlds of one closed Server with many routes, where what is worth more decides.
    is_about_routes: bool,
}

// === impl World ===

impl World {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        dice.is_about_routes = dice.one_in(3);
        let believes_status = dice.one_in(2);
        let (control_plane, domain) =
            if dice.one_in(3) { ("l5d", "mesh.example") } else { ("linkerd", "cluster.local") };
        dice.identities_end =
            if domain == "mesh.example" { "l5d.mesh.example" } else { "linkerd.cluster.local" };
        let cluster = json!({
            "cluster_networks": dice.pick(&[json!(["10.0.0.0/8", "fd00::/8"]), json!(["192.168.0.0/16"])]),
            "default_policy": dice.pick(&DEFAULTS),
            "identity_domain": domain,
            "cluster_domain": "cluster.local",
            "control_plane_namespace": control_plane,
            "probe_networks": dice.pick(&[json!(["0.0.0.0/0", "::/0"]), json!(["10.1.0.0/16"]), json!([])]),
            "default_opaque_ports": "3306",
            "trust_status": believes_status,
        });
        let mut world = Self { cluster, objects: Vec::new() };
        for name in ["a", "b"] {
            world.objects.push(object("v1", "Namespace", "", name, dice, json!({})));
        }
        world.add(dice, 1..=2, pod);
        world.add(dice, 0..=1, external_workload);
        world.add(dice, 1..=3, server);
        world.add(dice, 0..=2, server_authorization);
        world.add(dice, 1..=7, authorization_policy);
        world.add(dice, 3..=6, mesh_tls_authentication);
        world.add(dice, 3..=6, network_authentication);
        world.add(dice, if dice.is_about_routes { 2..=5 } else { 0..=4 }, http_route);
        if dice.one_in(if dice.is_about_routes { 6 } else { 3 }) {
            world.add(dice, 1..=2, grpc_route);
        }
        world.add(dice, 0..=2, rate_limit);
        // Status of a moment ago, which is believed by nobody who computes it.
        if !believes_status {
            for route in
                world.objects.iter_mut().filter(|object| object["kind"].as_str().unwrap().ends_with("Route"))
            {
                if dice.one_in(3) {
                    route["status"] = status(route, dice.pick(&["True", "False"]));
                }
            }
        }
        world
    }

    fn add(
        &mut self,
        dice: &mut Dice,
        count: std::ops::RangeInclusive<usize>,
        make: fn(&mut Dice, usize) -> Value,
    ) {
        for at in 0..dice.random.random_range(count) {
            let object = make(dice, at);
            self.objects.push(object);
        }
    }

    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap().to_owned();
        self.objects
            .iter()
            .filter_map(|object| {
                let kind = ["Pod", "ExternalWorkload"].into_iter().find(|kind| object["kind"] == *kind)?;
                Some(Workload { kind, namespace: text(object, "namespace"), name: text(object, "name") })
            })
            .collect()
    }

    /// The identity of an account here.
    fn identity(&self, account: &str, namespace: &str) -> String {
        let setting = |name: &str| self.cluster[name].as_str().unwrap();
        let (control_plane, domain) = (setting("control_plane_namespace"), setting("identity_domain"));
        format!("{account}.{namespace}.serviceaccount.identity.{control_plane}.{domain}")
    }
}

// === impl Question ===

impl Question {
    pub(crate) fn random(dice: &mut Dice, world: &World) -> Self {
        let workload = dice.pick(&world.workloads());
        let port = dice.pick(&PORTS);
        let call = match dice.roll(4) {
            0 => None,
            1 => Some(grpc_call(dice)),
            _ => Some(http_call(dice)),
        };
        Self { caller: caller(dice, world), workload, port, call }
    }
}

// === impl Dice ===

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            identities_end: "linkerd.cluster.local",
            is_about_routes: false,
        }
    }

    fn roll(&mut self, sides: u32) -> u32 {
        self.random.random_range(0..sides)
    }

    pub(crate) fn one_in(&mut self, sides: u32) -> bool {
        self.roll(sides) == 0
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items.choose(&mut self.random).unwrap().clone()
    }

    fn some<T>(&mut self, count: std::ops::RangeInclusive<usize>, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.random.random_range(count)).map(|_| make(self)).collect()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        rand::seq::SliceRandom::shuffle(items, &mut self.random);
    }
}

fn caller(dice: &mut Dice, world: &World) -> Caller {
    let addresses = [
        "10.1.0.5",
        "10.1.0.5",
        "10.1.0.5",
        "10.1.9.9",
        "10.2.0.1",
        "192.168.7.7",
        "203.0.113.9",
        "fd00::5",
        "2001:db8::1",
    ];
    let address = if dice.one_in(25) { dice.pick(&["127.0.0.1", "::1"]) } else { dice.pick(&addresses) };
    let account = dice.pick(&["web", "web", "bot"]);
    let namespace = dice.pick(&["a", "a", "b"]);
    let identity = match dice.roll(12) {
        0 | 1 => None,
        2 => Some("spiffe://root.example/vm".to_owned()),
        3 => Some(world.identity("Web", namespace)),
        4 => Some(format!("{account}.{namespace}.serviceaccount.identity.linkerd.cluster.local")),
        _ => Some(world.identity(account, namespace)),
    };
    Caller { address: address.parse().unwrap(), tls: identity.is_some() || dice.one_in(2), identity }
}

fn http_call(dice: &mut Dice) -> Call {
    let paths = [
        "/",
        "/api",
        "/api",
        "/api/v1",
        "/apix",
        "/live",
        "/live?x=1",
        "/ready",
        "/api?q=1",
        "/api/v1?q=1&r=2",
        "/other",
        "/api/",
    ];
    let hosts = [
        None,
        None,
        Some("web.example"),
        Some("x.apps.example"),
        Some("a.b.apps.example"),
        Some("apps.example"),
        Some("WEB.example"),
    ];
    let headers = [
        vec![],
        vec![("x-role", "admin")],
        vec![("X-Role", "user")],
        vec![("x-role", "admin"), ("x-v", "v1")],
    ];
    Call {
        method: dice.pick(&["GET", "GET", "POST"]).to_owned(),
        path: dice.pick(&paths).to_owned(),
        host: dice.pick(&hosts).map(str::to_owned),
        headers: dice
            .pick(&headers)
            .into_iter()
            .map(|(n, v): (&str, &str)| (n.to_owned(), v.to_owned()))
            .collect(),
    }
}

fn grpc_call(dice: &mut Dice) -> Call {
    let paths = ["/pkg.Svc/Get", "/pkg.Svc/Get", "/pkg.Svc/Put", "/pkg.Other/Get"];
    Call { method: "POST".to_owned(), path: dice.pick(&paths).to_owned(), ..http_call(dice) }
}

/// An object; ages are few, so that names often decide.
fn object(api_version: &str, kind: &str, namespace: &str, name: &str, dice: &mut Dice, spec: Value) -> Value {
    let minute = dice.roll(3);
    let mut metadata = json!({"name": name, "creationTimestamp": format!("2026-01-01T00:0{minute}:00Z")});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
}

/// Most objects are in `a`.
fn namespace(dice: &mut Dice) -> &'static str {
    if dice.is_about_routes {
        return "a";
    }
    if dice.one_in(10) { "b" } else { "a" }
}

fn labels(dice: &mut Dice) -> Value {
    let mut labels = Map::new();
    labels.insert("app".to_owned(), json!(dice.pick(&["x", "x", "y"])));
    if dice.one_in(2) {
        labels.insert("tier".to_owned(), json!(dice.pick(&["front", "back"])));
    }
    Value::Object(labels)
}

fn selector(dice: &mut Dice) -> Value {
    let labels =
        [json!({"app": "x"}), json!({"app": "x"}), json!({}), json!({"app": "y"}), json!({"tier": "front"})];
    let expressions = [
        json!({"key": "app", "operator": "In", "values": ["x", "z"]}),
        json!({"key": "app", "operator": "In", "values": []}),
        json!({"key": "app", "operator": "In"}),
        json!({"key": "tier", "operator": "NotIn", "values": ["front"]}),
        json!({"key": "tier", "operator": "NotIn", "values": []}),
        json!({"key": "tier", "operator": "NotIn"}),
        json!({"key": "tier", "operator": "Exists"}),
        json!({"key": "tier", "operator": "Exists", "values": []}),
        json!({"key": "tier", "operator": "DoesNotExist"}),
        json!({"key": "tier", "operator": "DoesNotExist", "values": ["front"]}),
    ];
    let mut selector = json!({});
    if !dice.one_in(6) {
        selector["matchLabels"] = dice.pick(&labels);
    }
    if dice.one_in(4) {
        selector["matchExpressions"] = json!(dice.some(1..=2, |dice| dice.pick(&expressions)));
    }
    selector
}

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

fn pod(dice: &mut Dice, at: usize) -> Value {
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
    let spec = json!({"serviceAccountName": "web", "containers": containers, "initContainers": init});
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

fn external_workload(dice: &mut Dice, at: usize) -> Value {
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

/// Also for the properties, which add one.
pub(crate) fn server(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let odd = [json!("admin"), json!("Http"), json!("nope"), json!("8080"), json!(80), json!(70_000)];
    let port = if dice.one_in(3) { dice.pick(&odd) } else { dice.pick(&[json!("http"), json!(8080)]) };
    let mut spec = json!({"port": port});
    let by = if dice.one_in(6) { "externalWorkloadSelector" } else { "podSelector" };
    spec[by] = selector(dice);
    if !dice.one_in(6) {
        let protocols = ["unknown", "unknown", "HTTP/1", "HTTP/2", "gRPC", "gRPC", "opaque", "TLS"];
        spec["proxyProtocol"] = json!(if dice.one_in(15) { "http/1" } else { dice.pick(&protocols) });
    }
    match dice.roll(8) {
        0 => {}
        1 => {
            spec["accessPolicy"] =
                json!(dice.pick(&["audit", "all-authenticated", "cluster-authenticated", "Audit"]))
        }
        2 => spec["accessPolicy"] = json!(dice.pick(&DEFAULTS)),
        _ => spec["accessPolicy"] = json!("deny"),
    }
    if dice.is_about_routes && at == 0 {
        let protocol = dice.pick(&["unknown", "unknown", "HTTP/1", "HTTP/2", "gRPC"]);
        spec = json!({"podSelector": {}, "port": 8080, "proxyProtocol": protocol, "accessPolicy": "deny"});
    }
    let version = format!("{POLICY}/{}", dice.pick(&["v1beta3", "v1beta2", "v1beta1"]));
    let mut server = object(&version, "Server", namespace, &format!("s{at}"), dice, spec);
    server["metadata"]["labels"] = labels(dice);
    server
}

/// Also for the properties, which add one.
pub(crate) fn server_authorization(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let mut spec = json!({});
    spec["server"] = if dice.one_in(2) {
        json!({"name": dice.pick(&["s0", "s1", "s2", "S0", "s9"])})
    } else {
        json!({"selector": selector(dice)})
    };
    let mut client = json!({});
    if dice.one_in(2) {
        client["networks"] = json!(dice.some(1..=2, network));
    }
    let accounts = [json!({"name": "web"}), json!({"name": "bot", "namespace": "b"})];
    match dice.roll(8) {
        0 => {}
        1 | 2 => client["unauthenticated"] = json!(true),
        3 => client["meshTLS"] = json!({}),
        4 => client["meshTLS"] = json!({"unauthenticatedTLS": true}),
        5 => client["meshTLS"] = json!({"serviceAccounts": dice.some(1..=2, |dice| dice.pick(&accounts))}),
        6 => {
            client["meshTLS"] = json!({"identities": dice.some(0..=2, pattern)});
            client["unauthenticated"] = json!(false);
        }
        _ => {
            client["unauthenticated"] = json!(dice.one_in(2));
            client["meshTLS"] = json!({
                "identities": dice.some(1..=2, pattern),
                "serviceAccounts": dice.some(0..=1, |dice| dice.pick(&accounts)),
            });
        }
    }
    spec["client"] = client;
    object("policy.linkerd.io/v1beta1", "ServerAuthorization", namespace, &format!("z{at}"), dice, spec)
}

/// Also for the properties, which add one.
pub(crate) fn authorization_policy(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let server_name = dice.pick(&["s0", "s0", "s0", "s1", "s1", "s2", "S0", "s9"]);
    let route_name = dice.pick(&["r0", "r0", "r1", "r2", "R0", "R1", "s0", "s1"]);
    let roll = if dice.is_about_routes { 7 + dice.roll(6) } else { dice.roll(14) };
    let target = match roll {
        0..=3 => json!({"group": POLICY, "kind": dice.pick(&["Server", "server"]), "name": server_name}),
        4 => json!({"group": dice.pick(&["", "core", GATEWAY]), "kind": "Server", "name": server_name}),
        5 | 6 => {
            let mut target =
                json!({"kind": dice.pick(&["Namespace", "namespace"]), "name": dice.pick(&["a", "b", "s0"])});
            if dice.one_in(2) {
                target["group"] = json!(dice.pick(&["", "core", "Core", POLICY]));
            }
            target
        }
        7..=9 => json!({"group": POLICY, "kind": dice.pick(&["HTTPRoute", "httproute"]), "name": route_name}),
        10 | 11 => json!({"group": GATEWAY, "kind": "HTTPRoute", "name": route_name}),
        12 => json!({"group": GATEWAY, "kind": "GRPCRoute", "name": dice.pick(&["g0", "g1", "G0"])}),
        _ => {
            json!({"group": dice.pick(&[POLICY, ""]), "kind": dice.pick(&["HTTPRoute", "Pod"]), "name": route_name})
        }
    };
    let references = match dice.roll(6) {
        0 => vec![],
        1 => vec![mesh_reference(dice)],
        2 => vec![network_reference(dice)],
        3 => vec![account_reference(dice)],
        4 => vec![dice.pick(&[mesh_reference, account_reference])(dice), network_reference(dice)],
        _ => {
            dice.some(2..=3, |dice| dice.pick(&[mesh_reference, network_reference, account_reference])(dice))
        }
    };
    let spec = json!({"targetRef": target, "requiredAuthenticationRefs": references});
    object("policy.linkerd.io/v1alpha1", "AuthorizationPolicy", namespace, &format!("p{at}"), dice, spec)
}

fn mesh_reference(dice: &mut Dice) -> Value {
    let kind = dice.pick(&["MeshTLSAuthentication", "MeshTLSAuthentication", "meshtlsauthentication"]);
    reference(dice, POLICY, kind, &["m0", "m0", "m0", "m1", "m1", "m2", "M0", "m9"])
}

fn network_reference(dice: &mut Dice) -> Value {
    reference(dice, POLICY, "NetworkAuthentication", &["n0", "n0", "n0", "n1", "n1", "n2", "N0", "n9"])
}

fn account_reference(dice: &mut Dice) -> Value {
    let group = dice.pick(&["", "", "", "", "core", POLICY]);
    reference(dice, group, "ServiceAccount", &["web", "bot"])
}

fn reference(dice: &mut Dice, group: &str, kind: &str, names: &[&str]) -> Value {
    let mut reference = json!({"group": group, "kind": kind, "name": dice.pick(names)});
    if group.is_empty() && dice.one_in(2) {
        reference.as_object_mut().unwrap().remove("group");
    }
    if dice.one_in(3) {
        reference["namespace"] = json!(dice.pick(&["a", "b", "b"]));
    }
    reference
}

fn pattern(dice: &mut Dice) -> String {
    let account = dice.pick(&["web", "bot"]);
    let namespace = dice.pick(&["a", "b"]);
    let end = if dice.one_in(8) { "linkerd.cluster.local" } else { dice.identities_end };
    match dice.roll(10) {
        0 => "*".to_owned(),
        1 => "spiffe://root.example/vm".to_owned(),
        2 => format!("*.{namespace}.serviceaccount.identity.{end}"),
        3 => "*.mesh.example".to_owned(),
        4 => format!("{account}.*.serviceaccount.identity.{end}"),
        5 => format!("*.*.serviceaccount.identity.{end}"),
        _ => format!("{account}.{namespace}.serviceaccount.identity.{end}"),
    }
}

/// Also for the properties, which add one.
fn mesh_tls_authentication(dice: &mut Dice, at: usize) -> Value {
    let mut spec = json!({});
    let form = dice.roll(6);
    if form < 3 || form == 5 {
        spec["identities"] = json!(dice.some(1..=2, pattern));
    }
    if form >= 3 {
        spec["identityRefs"] = json!(dice.some(1..=2, |dice| match dice.roll(5) {
            0 => json!({"kind": "Namespace", "name": dice.pick(&["a", "b"])}),
            1 if dice.one_in(4) => json!({"kind": "Pod", "name": "web"}),
            _ => account_reference_in_core(dice),
        }));
    }
    if dice.one_in(20) {
        spec = json!({"identities": []});
    }
    object(
        "policy.linkerd.io/v1alpha1",
        "MeshTLSAuthentication",
        ["a", "b"][at % 2],
        &format!("m{}", at / 2),
        dice,
        spec,
    )
}

fn account_reference_in_core(dice: &mut Dice) -> Value {
    let mut account = json!({"kind": "ServiceAccount", "name": dice.pick(&["web", "bot"])});
    if dice.one_in(2) {
        account["namespace"] = json!(dice.pick(&["a", "b"]));
    }
    account
}

fn network(dice: &mut Dice) -> Value {
    let cidrs = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.9.9/8",
        "10.1.0.5",
        "192.168.0.0/16",
        "0.0.0.0/0",
        "0.0.0.0/0",
        "::/0",
        "fd00::/8",
        "2001:db8::1",
    ];
    let mut network = json!({"cidr": dice.pick(&cidrs)});
    if dice.one_in(2) {
        let except = ["10.1.0.0/16", "10.1.9.9/32", "10.1.0.5", "192.168.7.0/24", "fd00::/16"];
        network["except"] = json!(dice.some(1..=2, |dice| dice.pick(&except)));
    }
    network
}

/// Also for the properties, which add one.
fn network_authentication(dice: &mut Dice, at: usize) -> Value {
    let mut networks = dice.some(1..=2, network);
    match dice.roll(20) {
        0 => networks.clear(),
        1 => networks.push(json!({"cidr": "10.0.0.0/33"})),
        _ => {}
    }
    let spec = json!({"networks": networks});
    object(
        "policy.linkerd.io/v1alpha1",
        "NetworkAuthentication",
        ["a", "b"][at % 2],
        &format!("n{}", at / 2),
        dice,
        spec,
    )
}

fn parent(dice: &mut Dice, namespace: &str) -> Value {
    let name = dice.pick(&["s0", "s0", "s0", "s0", "s1", "s1", "s2", "S0", "s9"]);
    let mut parent = json!({"group": POLICY, "kind": "Server", "name": name});
    if dice.is_about_routes {
        parent["name"] = json!("s0");
    }
    match dice.roll(32) {
        0 => parent["kind"] = json!("server"),
        1 => parent["group"] = json!(GATEWAY),
        2 => drop(parent.as_object_mut().unwrap().remove("kind")),
        3 => parent["namespace"] = json!(dice.pick(&["a", "b"])),
        4 => parent["namespace"] = json!(namespace),
        5 => parent["port"] = json!(8080),
        6 => parent["sectionName"] = json!("http"),
        7 => parent = json!({"group": "", "kind": "Service", "name": "svc", "port": 80}),
        _ => {}
    }
    parent
}

/// Of either group.
fn http_route(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let is_gateway = dice.one_in(2);
    let rules = dice.some(1..=2, |dice| {
        let mut rule = json!({"matches": dice.some(1..=2, http_match)});
        match dice.roll(12) {
            0 => rule = json!({"matches": []}),
            1 => {
                rule["filters"] = json!([{
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier": {"set": [{"name": "x-a", "value": "1"}]},
                }])
            }
            2 if is_gateway && dice.one_in(2) => {
                rule["filters"] = json!([{
                    "type": "URLRewrite",
                    "urlRewrite": {"hostname": "other.example"},
                }])
            }
            _ => {}
        }
        rule
    });
    let mut spec = json!({"parentRefs": dice.some(1..=2, |dice| parent(dice, namespace)), "rules": rules});
    if dice.one_in(6) {
        let hosts = ["web.example", "*.apps.example", "x.apps.example", "*.b.apps.example"];
        spec["hostnames"] = json!(dice.some(1..=2, |dice| dice.pick(&hosts)));
    }
    let group = if is_gateway { "gateway.networking.k8s.io/v1" } else { "policy.linkerd.io/v1beta3" };
    // Some have the name of a Server.
    let name = if dice.one_in(6) { format!("s{at}") } else { format!("r{at}") };
    object(group, "HTTPRoute", namespace, &name, dice, spec)
}

fn http_match(dice: &mut Dice) -> Value {
    let paths = [
        ("PathPrefix", "/"),
        ("PathPrefix", "/"),
        ("PathPrefix", "/api"),
        ("PathPrefix", "/api/v1"),
        ("PathPrefix", "/api/"),
        ("Exact", "/api"),
        ("Exact", "/live"),
        ("RegularExpression", "/api.*"),
        ("RegularExpression", "/(api|live)(/v[0-9])?"),
    ];
    let (how, path) = if dice.one_in(40) { ("PathPrefix", "api") } else { dice.pick(&paths) };
    let mut item = json!({"path": {"type": how, "value": path}});
    if dice.one_in(12) {
        item = json!({});
    }
    if dice.one_in(3) {
        item["method"] = json!(dice.pick(&["GET", "POST"]));
    }
    if dice.one_in(4) {
        item["headers"] = headers(dice);
    }
    if dice.one_in(5) {
        let parameters = [
            json!([{"type": "Exact", "name": "q", "value": "1"}]),
            json!([{"type": "RegularExpression", "name": "q", "value": "[0-9]+"}, {"type": "Exact", "name": "r", "value": "2"}]),
        ];
        item["queryParams"] = dice.pick(&parameters);
    }
    item
}

fn headers(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!([{"type": "Exact", "name": "x-role", "value": "admin"}]),
        json!([{"type": "RegularExpression", "name": "X-Role", "value": "adm.*"}]),
        json!([{"type": "RegularExpression", "name": "x-v", "value": "v"}]),
        json!([{"name": "x-role", "value": "admin"}, {"type": "RegularExpression", "name": "x-v", "value": "^v[12]$"}]),
    ])
}

fn grpc_route(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let methods = [
        json!({"type": "Exact", "service": "pkg.Svc", "method": "Get"}),
        json!({"service": "pkg.Svc"}),
        json!({"type": "Exact", "method": "Get"}),
        json!({"type": "Exact", "service": "pkg.Other"}),
    ];
    let rules = dice.some(1..=2, |dice| {
        if dice.one_in(6) {
            return json!({});
        }
        json!({"matches": dice.some(1..=2, |dice| {
            let mut item = json!({"method": dice.pick(&methods)});
            match dice.roll(12) {
                0 => item = json!({"headers": headers(dice)}),
                1 => item["method"] = json!({"type": "RegularExpression", "service": "pkg.Svc"}),
                2 | 3 => item["headers"] = headers(dice),
                _ => {}
            }
            item
        })})
    });
    let mut spec = json!({"parentRefs": dice.some(1..=2, |dice| parent(dice, namespace)), "rules": rules});
    if dice.one_in(5) {
        spec["hostnames"] = json!([dice.pick(&["web.example", "*.apps.example"])]);
    }
    object("gateway.networking.k8s.io/v1", "GRPCRoute", namespace, &format!("g{at}"), dice, spec)
}

fn rate_limit(dice: &mut Dice, at: usize) -> Value {
    let namespace = namespace(dice);
    let spec = json!({
        "targetRef": {"group": POLICY, "kind": "Server", "name": dice.pick(&["s0", "s1", "S0"])},
        "total": {"requestsPerSecond": 100},
        "overrides": [{"requestsPerSecond": 10, "clientRefs": [{"kind": "ServiceAccount", "name": "web"}]}],
    });
    object("policy.linkerd.io/v1alpha1", "HTTPLocalRateLimitPolicy", namespace, &format!("l{at}"), dice, spec)
}

/// A status that Linkerd's controller may have written at another time.
fn status(route: &Value, accepted: &str) -> Value {
    let parents = route["spec"]["parentRefs"].as_array().unwrap();
    let parents: Vec<Value> = parents
        .iter()
        .map(|parent| {
            json!({
                "parentRef": parent,
                "controllerName": "linkerd.io/policy-controller",
                "conditions": [{"type": "Accepted", "status": accepted, "reason": "Accepted", "message": "",
                                "lastTransitionTime": "2026-01-02T00:00:00Z"}],
            })
        })
        .collect();
    json!({"parents": parents})
}
