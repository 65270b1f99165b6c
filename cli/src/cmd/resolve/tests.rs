use super::{
    offline::{chosen, field, rows},
    *,
};
use crate::{
    args::Cli,
    cmd::Command,
    offline::{Defaults, Manifests, Workload},
};
use clap::Parser;
use linkerd_mcp_graph::{
    fact::Key,
    policy::{Policies, PolicyCluster, Ports, WorkloadKey},
};

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
fn a_command_line_that_makes_no_sense_is_refused() {
    for args in [&["-f", "-", "-o", "xml"][..], &["a", "b"][..]] {
        assert!(Cli::try_parse_from([&["linkerd-mcp", "resolve"], args].concat()).is_err(), "{args:?}");
    }
    let cli = Cli::try_parse_from(["linkerd-mcp", "resolve"]).unwrap();
    assert!(matches!(cli.command, Command::Resolve(resolve) if !resolve.manifests.given()));
}

#[test]
fn a_workload_that_is_made_of_a_template_is_named_after_it() {
    let workload = Workload {
        key: WorkloadKey::Pod(Key::new("shop", "deployment/db")),
        kind: "deployment".to_owned(),
        name: "db".to_owned(),
    };
    assert_eq!(field(&workload), "workload");
}

#[test]
fn what_the_api_answers_has_the_form_of_what_manifests_give() {
    let offline = {
        let manifests = manifests();
        let policies = Policies::read(&manifests.facts, &PolicyCluster::default());
        rows(&manifests, &policies, &manifests.workloads.iter().collect::<Vec<_>>())
    };
    let told = |row: &Row| ResolvedPort {
        workload: format!("shop/pod/{}", row.name),
        pod: row.name.clone(),
        port: row.port,
        known: row.known,
        status: row.status.clone(),
        server_json: row.server.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let online: Vec<Row> = offline.iter().map(|row| Row::of(&told(row)).unwrap()).collect();
    assert_eq!(online, offline);
    let external =
        ResolvedPort { workload: "shop/externalworkload/vm".into(), pod: "vm".into(), ..told(&offline[0]) };
    let external = Row::of(&external).unwrap();
    assert_eq!((external.field, external.workload.as_str()), ("external_workload", "ew/vm"));
    assert!(Row::of(&ResolvedPort { server_json: "{".into(), ..told(&offline[0]) }).is_err());
}

#[test]
fn an_answer_of_the_api_is_printed_as_checked_in() {
    let rows: Vec<Row> =
        crate::sample::policy::resolved().ports.iter().map(|port| Row::of(port).unwrap()).collect();
    crate::golden::compare("resolve.txt", &Format::Table.print(&rows));
    crate::golden::compare("resolve.json", &Format::Json.print(&rows));
}
