//! Who may ask what: every row of the table of rights, for every role of the chart, alone and where nothing may be changed.
//!
//! The same text comes from a real API server with the chart's roles, and from a stand-in that reads these roles as RBAC
//! does: the first says that Kubernetes decides so, the second fails at once when a row or a rule changes.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use kube::Client;
use linkerd_mcp_api::{
    authorization::{Authorization, Refused},
    caller::{Principal, Proof},
    rights::{
        Deed, Rights, Scope, Verdict,
        table::{Door, TABLE},
    },
};
use linkerd_mcp_graph::id::Text;
use linkerd_mcp_test::{golden, manifests, mesh, rig, wait};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt::Write as _, sync::Arc, time::Duration};

const LIMIT: Duration = Duration::from_secs(90);

/// Our namespace, and that of the callers.
const OURS: &str = "mcp";
const CALLERS: &str = "people";

/// The callers: a ServiceAccount, the role it has, and where; none for everywhere.
const ROLES: [(&str, Option<&str>, Option<&str>); 5] = [
    ("nobody", None, None),
    ("viewer", Some("viewer"), None),
    ("editor", Some("editor"), None),
    ("shop-viewer", Some("viewer"), Some("shop")),
    ("shop-editor", Some("editor"), Some("shop")),
];

fn who(name: &str) -> Principal {
    Principal::service_account(CALLERS, name, name, Proof::Token)
}

fn roles() -> Vec<Value> {
    let objects = manifests::install(&["--mcp-namespace", OURS]).unwrap();
    let of_callers = |object: &Value| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        object["kind"] == "ClusterRole" && (name.ends_with("-viewer") || name.ends_with("-editor"))
    };
    let roles: Vec<Value> = objects.into_iter().filter(of_callers).collect();
    assert_eq!(roles.len(), 2, "the roles of the chart");
    roles
}

fn bindings() -> Vec<Value> {
    let binding = |(name, role, place): &(&str, Option<&str>, Option<&str>)| {
        let role = (*role)?;
        let mut metadata = json!({"name": format!("test-{name}")});
        let kind = match place {
            Some(namespace) => {
                metadata["namespace"] = (*namespace).into();
                "RoleBinding"
            }
            None => "ClusterRoleBinding",
        };
        Some(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata,
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("linkerd-{OURS}-{role}"),
            },
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": CALLERS}],
        }))
    };
    ROLES.iter().filter_map(binding).collect()
}

/// What a row says to a caller, in a few words.
fn cell(decided: &Result<Scope, Refused>) -> &'static str {
    match decided {
        Ok(Scope::All) => "yes",
        Ok(Scope::Only(namespaces)) if namespaces.iter().map(|it| &**it).eq(["shop"]) => "in shop",
        Ok(Scope::Only(_)) => "ELSEWHERE",
        Err(Refused::Unknown) => "who?",
        Err(Refused::ReadOnly) => "read-only",
        Err(Refused::Undecided { .. }) => "UNDECIDED",
        Err(_) => "no",
    }
}

/// The whole table, as people read it.
async fn matrix(rights: &Rights) -> String {
    let namespaces = || ["data", "edge", "shop"].map(Text::from).into_iter().collect::<BTreeSet<_>>();
    let mut text = String::new();
    for read_only in [false, true] {
        let authorization = Authorization::new(rights.clone()).read_only(read_only);
        let title = if read_only { "where nothing may be changed" } else { "where policy may be changed" };
        // Writing to a String does not fail.
        let _ = write!(text, "{title}\n\n{:<9}{:<52}{:<26}{:<9}", "", "", "right", "unknown");
        for (name, ..) in ROLES {
            let _ = write!(text, "{name:<13}");
        }
        text = text.trim_end().to_owned() + "\n";
        for row in TABLE {
            let right = match row.door {
                Door::Open => "open".to_owned(),
                Door::Known => "any known caller".to_owned(),
                Door::Needs(need) => format!("{} {}", need.verb, need.resource),
            };
            let _ = write!(text, "{:<9}{:<52}{right:<26}", row.surface.as_str(), row.name);
            let unknown = authorization.decide(row, None, namespaces).await;
            let _ = write!(text, "{:<9}", cell(&unknown));
            for (name, ..) in ROLES {
                let decided = authorization.decide(row, Some(&who(name)), namespaces).await;
                let _ = write!(text, "{:<13}", cell(&decided));
            }
            text = text.trim_end().to_owned() + "\n";
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

/// The roles as RBAC reads them, with [`ROLES`] bound.
fn stand_in() -> Rights {
    let roles = Arc::new(roles());
    Rights::decided_by(move |who, deed| {
        let name = who.user.rsplit(':').next().unwrap_or_default();
        let allowed = ROLES.iter().filter(|(caller, ..)| *caller == name).any(|(_, role, place)| {
            let here = place.is_none_or(|place| deed.namespace.as_deref() == Some(place));
            let bound = role.map(|role| format!("linkerd-{OURS}-{role}"));
            here && roles
                .iter()
                .any(|it| it["metadata"]["name"].as_str() == bound.as_deref() && grants(it, deed))
        });
        Box::pin(std::future::ready(if allowed { Verdict::Allowed } else { Verdict::Denied }))
    })
}

fn grants(role: &Value, deed: &Deed) -> bool {
    let has = |list: &Value, wanted: &str| list.as_array().unwrap().iter().any(|it| it == wanted);
    let rules = role["rules"].as_array().unwrap();
    rules.iter().any(|rule| {
        has(&rule["apiGroups"], &deed.group)
            && has(&rule["resources"], &deed.resource)
            && has(&rule["verbs"], &deed.verb)
    })
}

#[tokio::test]
async fn r39_every_row_says_to_every_role_what_is_written_down() {
    golden::check("authorization.txt", &matrix(&stand_in()).await);
}

async fn apply(client: &Client) {
    let namespace =
        |name: &&str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let names = ["data", "edge", "shop", CALLERS];
    let objects: Vec<Value> = names.iter().map(namespace).chain(roles()).chain(bindings()).collect();
    mesh::apply(client, &manifests::yaml(&objects)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r39_kubernetes_decides_every_row_as_it_is_written_down() {
    let kubernetes = rig::kubernetes().await.unwrap();
    let client = kubernetes.client().await.unwrap();
    apply(&client).await;
    // The authorizer hears of bindings one after the other.
    for (name, role, place) in ROLES {
        let Some(role) = role else { continue };
        let deed = Deed::ours(if role == "editor" { "delete" } else { "list" }, "changes", place);
        let what = format!("{name} may {} changes", deed.verb);
        let heard = wait::until(&what, LIMIT, async || {
            // A new one each time: it remembers.
            let verdict = Rights::kubernetes(client.clone()).decide(&who(name), &deed).await;
            (verdict == Verdict::Allowed).then_some(())
        });
        heard.await.unwrap();
    }
    let found = matrix(&Rights::kubernetes(client.clone())).await;
    golden::check("authorization.txt", &found);

    // The control: one rule less, and the table is another.
    let viewer =
        roles().into_iter().find(|it| it["metadata"]["name"] == format!("linkerd-{OURS}-viewer")).unwrap();
    let mut less = viewer.clone();
    less["rules"].as_array_mut().unwrap().remove(0);
    mesh::apply(&client, &manifests::yaml(&[less])).await.unwrap();
    let differs = wait::until("the table is another", LIMIT, async || {
        (matrix(&Rights::kubernetes(client.clone())).await != found).then_some(())
    });
    differs.await.unwrap();
}
