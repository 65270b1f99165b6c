//! The rules of the workspace that no compiler checks.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What must never come into the crate of pure values, at any depth.
const NOT_PURE: [&str; 7] = ["tokio", "kube", "tonic", "redis", "reqwest", "hyper", "axum"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The folders of all crates, as the root manifest lists them.
fn members() -> Vec<PathBuf> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let list = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let names = list.split(',').map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty());
    names.map(|name| root().join(name)).collect()
}

#[test]
fn every_crate_takes_its_lints_from_the_workspace() {
    for member in members() {
        let manifest = std::fs::read_to_string(member.join("Cargo.toml")).unwrap();
        let lints =
            manifest.split_once("\n[lints]\n").map(|(_, rest)| rest.lines().next().unwrap_or_default());
        assert_eq!(lints, Some("workspace = true"), "{}", member.display());
    }
}

/// All crates that one of ours depends on, at any depth, and itself.
fn dependencies(package: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "-p", package, "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let crates: BTreeSet<String> =
        text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    assert!(crates.contains(package), "cargo tree printed something else:\n{text}");
    crates
}

fn assert_without(package: &str, never: &[&str]) {
    let crates = dependencies(package);
    let intruders: Vec<_> = never.iter().filter(|name| crates.contains(**name)).collect();
    assert!(intruders.is_empty(), "{package} depends on {intruders:?}; see cargo tree -i <name>");
}

#[test]
fn the_graph_crate_is_pure() {
    assert_without("linkerd-mcp-graph", &NOT_PURE);
}

#[test]
fn the_feed_crate_reaches_redis_and_neither_end_of_the_feed() {
    let never = ["linkerd-mcp-controller", "linkerd-mcp-api", "kube", "tonic", "reqwest", "axum"];
    assert_without("linkerd-mcp-feed", &never);
    assert!(dependencies("linkerd-mcp-feed").contains("redis"));
}

#[test]
fn the_prometheus_crate_reaches_prometheus_and_nothing_else() {
    let never = ["linkerd-mcp-controller", "linkerd-mcp-api", "kube", "tonic", "redis", "axum"];
    assert_without("linkerd-mcp-prometheus", &never);
    assert!(dependencies("linkerd-mcp-prometheus").contains("reqwest"));
}

#[test]
fn controller_and_api_use_the_feed_crate_and_never_each_other() {
    for (end, other) in
        [("linkerd-mcp-controller", "linkerd-mcp-api"), ("linkerd-mcp-api", "linkerd-mcp-controller")]
    {
        assert_without(end, &[other]);
        assert!(dependencies(end).contains("linkerd-mcp-feed"));
    }
}

#[test]
fn every_source_file_is_compiled() {
    for member in members() {
        let src = member.join("src");
        let mut reached = BTreeSet::new();
        let roots =
            ["lib.rs", "main.rs"].into_iter().map(|name| src.join(name)).chain(rust_files(&src.join("bin")));
        for root in roots.filter(|root| root.exists()) {
            reach(&root, &module_dir(&root), &mut reached);
        }
        let lost: Vec<PathBuf> =
            rust_files(&src).into_iter().filter(|file| !reached.contains(file)).collect();
        assert!(lost.is_empty(), "no `mod` line leads to {lost:#?}");
    }
}

/// All `.rs` files below a folder; those in `gen` are generated and come in by `include!`.
fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let below = |path: PathBuf| match path.is_dir() {
        true if path.ends_with("gen") => Vec::new(),
        true => rust_files(&path),
        false => vec![path],
    };
    let files = entries.flat_map(|entry| below(entry.unwrap().path()));
    files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Where the modules of a file live: beside a crate root, else in the folder of the file's name.
fn module_dir(file: &Path) -> PathBuf {
    let beside = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
    let in_bin = file.parent().is_some_and(|dir| dir.ends_with("src/bin"));
    if beside || in_bin { file.parent().unwrap().to_path_buf() } else { file.with_extension("") }
}

fn reach(file: &Path, dir: &Path, reached: &mut BTreeSet<PathBuf>) {
    reached.insert(file.to_path_buf());
    let text = std::fs::read_to_string(file).unwrap();
    let mut path_attribute = None;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            path_attribute = Some(file.parent().unwrap().join(path));
        } else if let Some(name) = module(line) {
            let here = [dir.join(format!("{name}.rs")), dir.join(name).join("mod.rs")];
            let module = path_attribute.take().or_else(|| here.into_iter().find(|path| path.exists()));
            if let Some(module) = module {
                reach(&module, &module_dir(&module), reached);
            }
        }
    }
}

/// The name in `mod name;`, whatever its visibility.
fn module(line: &str) -> Option<&str> {
    let name = line.strip_suffix(';')?.rsplit_once("mod ")?;
    let before = name.0.trim();
    let visible = before.is_empty() || before.starts_with("pub") || before.ends_with(']');
    (visible && name.1.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name.1)
}
