//! Random sets of objects and calls, from a small world in which names, labels, ports and addresses often meet. Values
//! that no rule of the oracle decides are left out; see its own documentation.

mod call;
mod policy;
mod route;
mod workload;

pub(crate) use policy::{authorization_policy, server, server_authorization};
pub(crate) use workload::clients;

use call::{caller, grpc_call, http_call};
use linkerd_mcp_test::oracle::{Call, Caller, Workload};
use policy::{mesh_tls_authentication, network_authentication, rate_limit};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use route::{grpc_route, http_route, status};
use serde_json::{Map, Value, json};
use workload::{external_workload, pod};

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
    theme: Theme,
}

/// What a world is mostly about. Objects that are chosen alike everywhere rarely meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    /// Nothing in particular.
    Anything,
    /// One closed Server and who is let into it.
    Authorizations,
    /// One closed Server with many routes, where what is worth more decides.
    Routes,
}

// === impl World ===

impl World {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        dice.theme = dice.pick(&[Theme::Anything, Theme::Authorizations, Theme::Routes]);
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
        world.add(dice, dice.theme.count_of_routes(), http_route);
        if dice.one_in(if dice.theme == Theme::Anything { 3 } else { 6 }) {
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
        // Where there is one closed Server, it is what most questions are about.
        let is_its = dice.theme.has_closed_server() && !dice.one_in(4);
        let port = if is_its { 8080 } else { dice.pick(&PORTS) };
        let call = match dice.roll(4) {
            0 => None,
            1 => Some(grpc_call(dice)),
            _ => Some(http_call(dice)),
        };
        Self { caller: caller(dice, world), workload, port, call }
    }
}

// === impl Theme ===

impl Theme {
    fn count_of_routes(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Anything => 0..=4,
            Self::Authorizations => 0..=1,
            Self::Routes => 2..=5,
        }
    }

    fn has_closed_server(self) -> bool {
        self != Self::Anything
    }
}

// === impl Dice ===

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            identities_end: "linkerd.cluster.local",
            theme: Theme::Anything,
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
    if dice.theme == Theme::Anything && dice.one_in(10) { "b" } else { "a" }
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
