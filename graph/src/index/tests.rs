//! Any interleaving of applies, deletes and relists leaves exactly the graph of the final objects.

use super::*;
use crate::fact::{
    ContainerPort, EndpointSlice, EndpointTarget, ExternalWorkload, Fact, Key, Owner, OwnerRef, Pod,
    PolicyObject, Proxy, Service, ServicePort,
};
use proptest::prelude::*;
use serde_json::json;

fn key() -> impl Strategy<Value = Key> {
    ("[ab]", "[xyz]").prop_map(|(namespace, name)| Key::new(namespace, name))
}

fn owner() -> impl Strategy<Value = Option<OwnerRef>> {
    proptest::option::of(
        (prop_oneof!["ReplicaSet", "Job", "Deployment", "StatefulSet", "CloneSet"], "[xyz]")
            .prop_map(|(kind, name): (String, String)| OwnerRef { kind: kind.into(), name: name.into() }),
    )
}

const ZONE: &str = "topology.kubernetes.io/zone";

fn labels() -> impl Strategy<Value = crate::fact::Labels> {
    ("[pq]", "[12]").prop_map(|(app, zone)| {
        let (app, zone) = ((Text::from("app"), app.into()), (Text::from(ZONE), zone.into()));
        Arc::new([app, zone].into())
    })
}

fn pod() -> impl Strategy<Value = Fact> {
    (key(), owner(), labels(), any::<(bool, bool, bool)>()).prop_map(
        |(key, owner, labels, (meshed, ready, ended))| {
            Fact::Pod(Arc::new(Pod {
                key,
                owner,
                service_account: "default".into(),
                ips: Vec::new(),
                labels,
                annotations: Default::default(),
                control_plane: meshed.then(|| "linkerd".into()),
                proxy: if meshed { Proxy::NativeSidecar } else { Proxy::Absent },
                ports: [ContainerPort { port: 8080, name: "http".into(), protocol: "TCP".into() }].into(),
                probes: [].into(),
                ready,
                ended,
                host_network: false,
            }))
        },
    )
}

fn slice() -> impl Strategy<Value = Fact> {
    let target = prop_oneof![
        "[xyz]".prop_map(|name| EndpointTarget::Pod(name.into())),
        "[xyz]".prop_map(|name| EndpointTarget::ExternalWorkload(name.into())),
    ];
    (key(), proptest::option::of("[st]"), proptest::collection::vec(target, 0..3)).prop_map(
        |(key, service, targets)| {
            Fact::EndpointSlice(Arc::new(EndpointSlice { key, service: service.map(Into::into), targets }))
        },
    )
}

fn service() -> impl Strategy<Value = Fact> {
    ("[ab]", "[st]", 1..3_u16).prop_map(|(namespace, name, port)| {
        Fact::Service(Arc::new(Service {
            key: Key::new(namespace, name),
            ports: vec![ServicePort { port, name: "".into(), protocol: "TCP".into(), target: "8080".into() }],
            cluster_ips: Vec::new(),
            opaque_ports: None,
            mirror_of: None,
            external_name: None,
        }))
    })
}

fn external_workload() -> impl Strategy<Value = Fact> {
    (key(), labels(), any::<bool>()).prop_map(|(key, labels, meshed)| {
        Fact::ExternalWorkload(Arc::new(ExternalWorkload {
            key,
            identity: meshed.then(|| "spiffe://root/vm".into()),
            server_name: None,
            ips: Vec::new(),
            ports: [].into(),
            labels,
            annotations: Default::default(),
            ready: true,
            owner: None,
        }))
    })
}

fn policy() -> impl Strategy<Value = Fact> {
    let spec = prop_oneof![
        "[pq]".prop_map(|app| (
            Kind::Server,
            json!({"podSelector": {"matchLabels": {"app": app}}, "port": 8080})
        )),
        "[12]".prop_map(|zone| (
            Kind::Server,
            json!({"podSelector": {"matchLabels": {ZONE: zone}}, "port": 8080})
        )),
        "[pq]".prop_map(|app| (
            Kind::Server,
            json!({"externalWorkloadSelector": {"matchLabels": {"app": app}}, "port": 1})
        )),
        "[xyz]".prop_map(|name| (
            Kind::AuthorizationPolicy,
            json!({"targetRef": {"group": "policy.linkerd.io", "kind": "Server", "name": name}})
        )),
        Just((Kind::AuthorizationPolicy, json!({"targetRef": {"kind": "Namespace", "name": "a"}}))),
        "[xyz]".prop_map(|name| (
            Kind::LinkerdHTTPRoute,
            json!({"parentRefs": [{"kind": "Server", "name": name}]})
        )),
        "[xyz]".prop_map(|name| (Kind::ServerAuthorization, json!({"server": {"name": name}}))),
        Just((Kind::EgressNetwork, json!({"trafficPolicy": "Allow"}))),
    ];
    (key(), spec).prop_map(|(key, (kind, spec))| {
        Fact::Policy(Arc::new(PolicyObject {
            kind,
            key,
            api_version: "policy.linkerd.io/v1".into(),
            labels: Default::default(),
            created_ms: None,
            spec: Arc::new(spec),
            status: Arc::default(),
        }))
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => pod(),
        2 => (key(), owner(), any::<bool>()).prop_map(|(key, owner, job)| {
            let kind = if job { Kind::Job } else { Kind::ReplicaSet };
            Fact::Owner(Arc::new(Owner { kind, key, owner }))
        }),
        2 => slice(),
        2 => service(),
        1 => external_workload(),
        3 => policy(),
        1 => "[ab]".prop_map(|name| {
            Fact::Namespace(Arc::new(crate::fact::Namespace { key: Key::new("", name), extension: None, external_prometheus: None }))
        }),
        1 => ("[ab]", "[st]").prop_map(|(namespace, name)| {
            Fact::ServiceProfile(Arc::new(Key::new(namespace.clone(), format!("{name}.{namespace}.svc.cluster.local"))))
        }),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    /// Relists a kind with a part of what it had and something new.
    Relist(Fact, Vec<bool>),
    Refresh,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => fact().prop_map(|fact| Step::Change(Change::Apply(fact))),
        3 => fact().prop_map(|fact| Step::Change(Change::Delete(fact.kind(), fact.key().clone()))),
        1 => (fact(), proptest::collection::vec(any::<bool>(), 8)).prop_map(|(fact, keep)| Step::Relist(fact, keep)),
        1 => Just(Step::Refresh),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_of_applies_deletes_and_relists_leaves_exactly_the_final_objects(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut index = Index::default();
        let mut objects: BTreeMap<(Kind, Key), Fact> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Change(change) => {
                    match &change {
                        Change::Apply(fact) => drop(objects.insert((fact.kind(), fact.key().clone()), fact.clone())),
                        Change::Delete(kind, key) => drop(objects.remove(&(*kind, key.clone()))),
                        Change::Reset(..) => {}
                    }
                    index.change(change);
                }
                Step::Relist(new, keep) => {
                    let kind = new.kind();
                    let mut keep = keep.into_iter().cycle();
                    objects.retain(|(of, _), _| *of != kind || keep.next().unwrap_or(true));
                    objects.insert((kind, new.key().clone()), new);
                    let list = objects.iter().filter(|((of, _), _)| *of == kind).map(|(_, fact)| fact.clone()).collect();
                    index.change(Change::Reset(kind, list));
                }
                Step::Refresh => drop(index.refresh().clone()),
            }
        }
        index.refresh();
        let mut facts = Facts::default();
        let mut touched = Touched::default();
        for fact in objects.into_values() {
            facts.change(Change::Apply(fact), &mut touched);
        }
        let fresh = assemble_all(facts, &Cluster::default());
        prop_assert_eq!(index.graph(), &fresh);
    }
}

#[test]
fn pods_that_differ_in_zone_or_version_are_alike_to_policy_until_a_server_selects_by_it() {
    let mut index = Index::default();
    let hash = "pod-template-hash";
    for (name, app, zone, version) in [
        ("web-a", "web", "1", "x"),
        ("web-b", "web", "2", "x"),
        ("web-c", "web", "1", "y"),
        ("web-d", "old", "1", "y"),
    ] {
        let labels = [("app", app), (ZONE, zone), (hash, version)];
        index.change(Change::Apply(Fact::Pod(Arc::new(Pod {
            key: Key::new("shop", name),
            owner: Some(OwnerRef { kind: "StatefulSet".into(), name: "web".into() }),
            service_account: "web".into(),
            ips: Vec::new(),
            labels: Arc::new(labels.map(|(label, value)| (label.into(), value.into())).into()),
            annotations: Default::default(),
            control_plane: Some("linkerd".into()),
            proxy: Proxy::NativeSidecar,
            ports: [].into(),
            probes: [].into(),
            ready: true,
            ended: false,
            host_network: false,
        }))));
    }
    let mut selecting = |selector| {
        index.change(Change::Apply(Fact::Policy(Arc::new(PolicyObject {
            kind: Kind::Server,
            key: Key::new("shop", "web"),
            api_version: "policy.linkerd.io/v1beta3".into(),
            labels: Default::default(),
            created_ms: None,
            spec: Arc::new(json!({"podSelector": selector, "port": 8080})),
            status: Arc::default(),
        }))));
        let templates = &index.refresh().workloads["shop/statefulset/web"].templates;
        templates.iter().map(|it| (it.first.to_string(), it.count)).collect::<Vec<_>>()
    };
    let expect = |groups: &[(&str, u32)]| -> Vec<(String, u32)> {
        groups.iter().map(|(first, count)| ((*first).to_owned(), *count)).collect()
    };
    let by_app = expect(&[("web-a", 3), ("web-d", 1)]);
    assert_eq!(selecting(json!({"matchLabels": {"app": "web"}})), by_app);
    let by_zone = json!({"matchExpressions": [{"key": ZONE, "operator": "Exists"}]});
    assert_eq!(selecting(by_zone), expect(&[("web-a", 2), ("web-b", 1), ("web-d", 1)]));
    assert_eq!(
        selecting(json!({"matchLabels": {hash: "x"}})),
        expect(&[("web-a", 2), ("web-c", 1), ("web-d", 1)])
    );
    assert_eq!(selecting(json!({"matchLabels": {"app": "web"}})), by_app);
}

#[test]
fn a_pod_belongs_to_the_deployment_above_its_replica_set_whichever_comes_first() {
    let mut index = Index::default();
    let replica_set = OwnerRef { kind: "ReplicaSet".into(), name: "web-1".into() };
    let pod = Fact::Pod(Arc::new(Pod {
        key: Key::new("shop", "web-1-a"),
        owner: Some(replica_set),
        service_account: "web".into(),
        ips: Vec::new(),
        labels: Default::default(),
        annotations: Default::default(),
        control_plane: Some("linkerd".into()),
        proxy: Proxy::NativeSidecar,
        ports: [].into(),
        probes: [].into(),
        ready: true,
        ended: false,
        host_network: false,
    }));
    index.change(Change::Apply(pod));
    assert_eq!(
        index.refresh().workloads.keys().map(|id| id.as_str()).collect::<Vec<_>>(),
        ["shop/replicaset/web-1"]
    );
    let owner = Some(OwnerRef { kind: "Deployment".into(), name: "web".into() });
    index.change(Change::Apply(Fact::Owner(Arc::new(Owner {
        kind: Kind::ReplicaSet,
        key: Key::new("shop", "web-1"),
        owner,
    }))));
    let graph = index.refresh();
    assert_eq!(graph.workloads.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["shop/deployment/web"]);
    let identity = graph.workloads["shop/deployment/web"].identity.clone();
    assert_eq!(identity.as_deref(), Some("web.shop.serviceaccount.identity.linkerd.cluster.local"));
}
