//! The documentation: links lead somewhere, and what it lists is what there is.

#![expect(clippy::unwrap_used, reason = "a failing helper fails the test")]

use linkerd_mcp_graph::promql::queries;
use regex::Regex;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages that people read, and their text without what is in fences.
fn pages() -> Vec<(PathBuf, String)> {
    let mut folders = vec![root(), root().join("docs"), root().join("test"), root().join("test/helm")];
    let mut pages = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "md") {
                let text = fs::read_to_string(&path).unwrap();
                pages.push((path, without_fences(&text)));
            }
        }
    }
    pages
}

fn without_fences(text: &str) -> String {
    let mut inside = false;
    let shown = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    };
    text.lines().filter(shown).collect::<Vec<_>>().join("\n")
}

/// The anchors of a page, as GitHub makes them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Links of a page that lead nowhere.
fn broken(path: &Path, text: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let leads = |target: &str| {
        if target.contains("://") || target.starts_with("mailto:") {
            return true;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { path.to_owned() } else { path.parent().unwrap().join(file) };
        let anchored = || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            anchors(&without_fences(&text)).contains(anchor)
        };
        file.exists() && (anchor.is_empty() || anchored())
    };
    let targets = link.captures_iter(text).map(|found| found[1].to_owned());
    targets.filter(|target| !leads(target)).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    let pages = pages();
    assert!(pages.len() > 12, "{}", pages.len());
    let all: Vec<(PathBuf, Vec<String>)> = pages
        .into_iter()
        .map(|(path, text)| (path.clone(), broken(&path, &text)))
        .filter(|(_, broken)| !broken.is_empty())
        .collect();
    assert_eq!(all, Vec::new());
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "[a](docs/none.md) [b](README.md#no-such-heading) [c](README.md#try-it) [d](#here)\n## Here\n";
    let page = root().join("README.md");
    assert_eq!(broken(&page, text), ["docs/none.md", "README.md#no-such-heading", "#here"]);
}

#[test]
fn every_page_of_docs_is_reached_from_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(readme.contains(&format!("(docs/{name}")), "docs/{name} is not in README.md");
    }
}

/// Rust sources under a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_address_of_the_documentation_is_written_in_one_place() {
    let mut found = Vec::new();
    for folder in ["graph", "controller", "api", "feed", "cli", "proto"] {
        sources(&root().join(folder).join("src"), &mut found);
    }
    let address = Regex::new(r"https://[^\s\x22]+/docs/([a-z-]+\.md)").unwrap();
    let written: Vec<String> = found
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap();
            address.captures_iter(&text).map(|found| found[1].to_owned()).collect::<Vec<_>>()
        })
        .collect();
    // That its anchors are there is tested beside the checks.
    assert_eq!(written, ["checks.md"]);
    assert!(root().join("docs/checks.md").is_file());
}

#[test]
fn the_page_about_prometheus_has_every_family_and_workload_label_that_is_asked_for() {
    let page = fs::read_to_string(root().join("docs/prometheus.md")).unwrap();
    let asked: BTreeSet<&str> =
        queries::all().iter().flat_map(|query| query.branches.iter().map(|branch| branch.metric)).collect();
    let word = Regex::new(r"`([a-z_]+)`").unwrap();
    let table = page.split("\n## ").find(|part| part.starts_with("Which series")).unwrap();
    let written: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| word.captures_iter(cell).map(|found| found.get(1).unwrap().as_str()))
        .collect();
    assert_eq!(written, asked);
    for label in queries::WORKLOAD {
        assert!(page.contains(&format!("`{label}`")), "{label}");
    }
}
