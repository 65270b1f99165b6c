//! Our command behind `linkerd`: `linkerd mcp …`, and what `linkerd check` makes of us.
//!
//! With a real `linkerd` in `LINKERD_MCP_LINKERD` these are tests of that one; else of a stand-in that keeps to the
//! contract.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use linkerd_mcp_test::{
    linkerd_cli::{Linkerd, Said},
    ours,
    rig::shared_kubernetes,
};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder to put on PATH, and a kubeconfig that leads nowhere unless it is given another.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new(kubeconfig: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("config"), kubeconfig).unwrap();
        Self { dir }
    }

    fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    fn with_ours(self) -> Self {
        symlink(ours::program("linkerd-mcp").unwrap(), self.bin().join("linkerd-mcp")).unwrap();
        self
    }

    fn with_script(self, name: &str, script: &str) -> Self {
        let path = self.bin().join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    async fn linkerd(&self, args: &[&str]) -> Said {
        self.linkerd_at(&[&self.bin()], args).await
    }

    async fn linkerd_at(&self, path: &[&Path], args: &[&str]) -> Said {
        Linkerd::new(path, &self.dir.path().join("config")).unwrap().run(args).await.unwrap()
    }
}

async fn label(client: &Client, extension: &str) {
    let name = format!("linkerd-{extension}");
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"linkerd.io/extension": extension}},
    });
    let apply = PatchParams::apply("test").force();
    Api::<Namespace>::all(client.clone()).patch(&name, &apply, &Patch::Apply(namespace)).await.unwrap();
}

#[tokio::test]
async fn linkerd_mcp_runs_our_command_with_its_arguments_and_streams() {
    let place = Place::new("").with_ours();
    let install = ["install", "--ignore-cluster", "--set", "readOnly=true"];
    let said = place.linkerd(&[&["mcp"][..], &install].concat()).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    let direct = ours::cli(&install).await.unwrap();
    assert_eq!(said.stdout, String::from_utf8(direct.stdout).unwrap());
    assert!(said.stdout.contains("linkerd.io/extension: mcp\n"));

    // Of our exit codes it knows zero and the others: 2 comes out as 1.
    let said = place.linkerd(&["mcp", "install", "--no-such-flag"]).await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("--no-such-flag"), "{}", said.stderr);

    let said = place.linkerd(&["--context=kind", "mcp", "version"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("Cannot accept flags before Linkerd extension name"), "{}", said.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn linkerd_check_runs_us_where_our_namespace_is_and_prints_our_categories() {
    let kubernetes = shared_kubernetes().await.unwrap();
    let client = kubernetes.client().await.unwrap();
    let kubeconfig = kubernetes.apiserver.kubeconfig();
    let place = Place::new(&kubeconfig).with_ours();
    let without = Place::new(&kubeconfig);
    let check = ["check", "--wait=1s"];

    // On PATH, and nothing installed: it is not our cluster.
    let said = place.linkerd(&check).await;
    assert!(!said.stdout.contains("linkerd-mcp"), "{}", said.stdout);

    label(&client, "mcp").await;
    // Installed, and not on PATH: Linkerd says who should have answered.
    let said = without.linkerd(&check).await;
    assert!(said.stdout.contains("\u{203c} Linkerd extension command linkerd-mcp exists"), "{}", said.stdout);

    let said = place.linkerd(&check).await;
    for line in [
        "linkerd-mcp\n-----------\n\u{221a} can query the Kubernetes API\n",
        "\n\u{221a} linkerd-mcp Namespace exists\n",
        "\n\u{d7} linkerd-mcp ClusterRoles exist\n    missing ClusterRoles: linkerd-linkerd-mcp-controller\n    see \
         https://github.com/linkerd-mcp/linkerd-mcp/blob/main/docs/checks.md#mcp-cr-exists for hints\n",
        "\nStatus check results are \u{d7}\n",
    ] {
        assert!(said.stdout.contains(line), "{line}\nis not in\n{}", said.stdout);
    }
    assert!(!said.stdout.contains("Running:") && !said.stdout.contains("linkerd-mcp-data-plane"));
    assert_eq!(said.code, Some(1));
    let said = place.linkerd(&["check", "--wait=1s", "--proxy=true", "--namespace=nowhere"]).await;
    assert!(
        said.stdout
            .contains("linkerd-mcp-data-plane\n----------------------\n\u{d7} data plane namespace exists\n"),
        "{}",
        said.stdout
    );

    // `linkerd mcp check` says the same of itself, for people and for programs.
    let said = place.linkerd(&["mcp", "check", "--wait=1s"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.ends_with("\nStatus check results are \u{d7}\n"), "{}", said.stdout);
    let said = place.linkerd(&["mcp", "check", "--pre"]).await;
    assert!(said.stdout.starts_with("pre-linkerd-mcp\n---------------\n"), "{}", said.stdout);

    // The fault that all of this would show: anything beside the one object.
    let program = ours::program("linkerd-mcp").unwrap();
    let chatty = format!("#!/bin/sh\necho hello\nexec {} \"$@\"\n", program.display());
    let said = Place::new(&kubeconfig).with_script("linkerd-mcp", &chatty).linkerd(&check).await;
    assert!(said.stdout.contains("Running: "), "{}", said.stdout);

    // A folder with all our programs on PATH: those that are no extensions say so at once, and are not run again.
    let said = place.linkerd_at(&[program.parent().unwrap()], &check).await;
    let headings: Vec<&str> = said.stdout.lines().filter(|line| line.starts_with("linkerd-mcp")).collect();
    assert_eq!(headings, ["linkerd-mcp"], "{}", said.stdout);
}

#[tokio::test]
async fn none_of_our_programs_claims_a_check_of_its_own() {
    let place = Place::new("");
    for name in ["linkerd-mcp", "linkerd-mcp-controller", "linkerd-mcp-api"] {
        let program = ours::program(name).unwrap();
        symlink(&program, place.bin().join(name)).unwrap();
        let name = name.strip_prefix("linkerd-").unwrap();
        let said = place.linkerd(&[name, "_extension-metadata"]).await;
        assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{name}");
    }
}
