use super::*;
use crate::args::Cli;
use crate::cmd::Command;
use clap::Parser;
use linkerd_mcp_graph::fact::Key;

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web, linkerd.io/control-plane-ns: linkerd}}
spec:
  containers:
  - name: web
    ports: [{containerPort: 8080, name: http}, {containerPort: 9090}]
    livenessProbe: {httpGet: {path: /live, port: http}}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: shop}
spec: {containers: [{name: bare, ports: [{containerPort: 80}]}]}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web-http, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, port: http, proxyProtocol: HTTP/1}
---
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: admin, namespace: shop}
spec:
  parentRefs: [{group: policy.linkerd.io, kind: Server, name: web-http}]
  rules: [{matches: [{path: {value: /admin}}]}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: ops, namespace: shop}
spec:
  targetRef: {group: policy.linkerd.io, kind: HTTPRoute, name: admin}
  requiredAuthenticationRefs: [{kind: ServiceAccount, name: ops}]
"#;

fn parse(args: &[&str]) -> Result<(Globals, ResolveArgs), clap::Error> {
    let cli = Cli::try_parse_from([&["linkerd-mcp", "resolve"], args].concat())?;
    let Command::Resolve(resolve) = cli.command else { panic!("not resolve") };
    Ok((cli.globals, resolve))
}

fn manifests() -> Manifests {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), MANIFESTS).unwrap();
    let defaults = Defaults {
        namespace: "default".to_owned(),
        opaque_ports: Ports::default(),
        control_plane: "linkerd".to_owned(),
    };
    Manifests::read(&[file.path().to_path_buf()], &defaults)
}

fn printed(format: Format) -> String {
    let manifests = manifests();
    assert_eq!(manifests.faults, Vec::<String>::new());
    let policies = Policies::read(&manifests.facts, &PolicyCluster::default());
    let workloads: Vec<&Workload> = manifests.workloads.iter().collect();
    format.print(&rows(&manifests, &policies, &workloads))
}

#[test]
fn the_table_has_a_row_for_each_port_and_names_who_is_let_in_by_what() {
    let expected = "\
NAMESPACE   WORKLOAD    PORT   SERVER                        PROTOCOL   LETS IN
shop        po/web      8080   web-http                      http1      nobody, [httproute/admin also authorizationpolicy/ops]
shop        po/web      9090   default:all-unauthenticated   detect     default/all-unauthenticated
shop        po/web     other   default:all-unauthenticated   detect     default/all-unauthenticated
shop        po/bare        -   -                             -          everybody: it is not in the mesh
";
    assert_eq!(printed(Format::Table), expected);
}

#[test]
fn the_json_has_the_form_of_recorded_answers() {
    let answers: Vec<Value> = serde_json::from_str(&printed(Format::Json)).unwrap();
    let asked: Vec<(&Value, &Value, &Value)> =
        answers.iter().map(|answer| (&answer["pod"], &answer["port"], &answer["status"])).collect();
    assert_eq!(
        json!(asked),
        json!([
            ["web", 8080, "ok"],
            ["web", 9090, "ok"],
            ["web", 9999, "ok"],
            ["bare", 80, "not_found"],
            ["bare", 9999, "not_found"]
        ])
    );
    assert_eq!(answers[0]["server"]["labels"]["name"], "web-http");
    assert_eq!(answers[3].get("server"), None);
}

#[test]
fn a_workload_is_named_as_kubectl_names_it_and_a_wrong_name_is_told_what_there_is() {
    let all = manifests().workloads;
    for name in ["web", "pod/web", "po/web", "Pods/web", "shop/web", "shop/pod/web"] {
        let chosen = chosen(&all, Some(name)).unwrap();
        assert_eq!(
            chosen.iter().map(|workload| workload.name.as_str()).collect::<Vec<_>>(),
            ["web"],
            "{name}"
        );
    }
    for name in ["other/web", "deploy/web", "shop/deploy/web", "a/b/c/d", ""] {
        let refusal = chosen(&all, Some(name)).unwrap_err().to_string();
        assert!(refusal.ends_with("they hold shop/po/web, shop/po/bare"), "{refusal}");
    }
}

#[test]
fn the_control_planes_settings_are_its_charts_until_flags_say_otherwise() {
    let settings = |args: &[&str]| {
        let (globals, resolve) = parse(&[&["-f", "-"], args].concat()).unwrap();
        resolve.cluster.settings(&globals)
    };
    assert_eq!(settings(&[]), PolicyCluster::default());
    let set = settings(&[
        "--cluster-networks=172.20.0.0/14,fd12::/16",
        "--default-policy=deny",
        "--identity-domain=id.example",
        "--cluster-domain=cluster.example",
        "--control-plane-namespace=l5d",
        "--probe-networks=",
        "--default-opaque-ports=3306,9000-9002",
        "--ignore-status",
    ]);
    assert_eq!(
        set,
        PolicyCluster {
            cluster_networks: vec!["172.20.0.0/14".parse().unwrap(), "fd12::/16".parse().unwrap()],
            default_policy: DefaultPolicy::Deny,
            identity_domain: "id.example".into(),
            cluster_domain: "cluster.example".into(),
            control_plane_namespace: "l5d".into(),
            probe_networks: Vec::new(),
            default_opaque_ports: "3306,9000-9002".parse().unwrap(),
            trust_status: false,
        }
    );
    assert_eq!(&*settings(&["-L", "mesh"]).control_plane_namespace, "mesh");
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    for args in [
        &[][..],
        &["-f", "-", "-o", "xml"][..],
        &["-f", "-", "--default-policy", "open"][..],
        &["-f", "-", "--cluster-networks", "10.0.0.0"][..],
        &["-f", "-", "--default-opaque-ports", "http"][..],
    ] {
        assert!(parse(args).is_err(), "{args:?}");
    }
}

#[test]
fn a_workload_that_is_made_of_a_template_is_named_after_it() {
    let workload = Workload {
        key: WorkloadKey::Pod(Key::new("shop", "deployment/db")),
        kind: "deployment".to_owned(),
        name: "db".to_owned(),
    };
    let row = Row { workload: &workload, port: 80, known: true, answer: Answer::NotFound };
    assert_eq!(
        row.to_json(),
        json!({"namespace": "shop", "workload": "deployment/db", "port": 80, "status": "not_found"})
    );
}
