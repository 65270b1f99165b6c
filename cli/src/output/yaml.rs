//! YAML: the document of [`super::document`]. Text is quoted as in JSON unless it is plainly a word, so that no
//! reader takes `no`, `1e3` or a control character for something else.

use super::{
    document::{self, Node},
    text::clean_json,
};
use linkerd_mcp_proto::v1::MeshGraph;

/// The graph as YAML.
pub(crate) fn print(graph: &MeshGraph) -> String {
    document(&document::graph(graph))
}

/// Any document as YAML.
pub(crate) fn document(document: &Node) -> String {
    let mut out = String::new();
    match document {
        Node::Map(entries) if !entries.is_empty() => map(entries, 0, &mut out),
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
    clean_json(&out)
}

fn map(entries: &[(String, Node)], depth: usize, out: &mut String) {
    for (at, (key, node)) in entries.iter().enumerate() {
        // The first key of a map in a list stands on the line of its dash.
        if at > 0 || !out.ends_with("- ") {
            indent(depth, out);
        }
        out.push_str(&text(key));
        out.push(':');
        value(node, depth, out);
    }
}

fn value(node: &Node, depth: usize, out: &mut String) {
    match node {
        Node::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            map(entries, depth + 1, out);
        }
        Node::List(items) if !items.is_empty() => {
            out.push('\n');
            list(items, depth, out);
        }
        other => {
            out.push(' ');
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn list(items: &[Node], depth: usize, out: &mut String) {
    for item in items {
        indent(depth, out);
        out.push_str("- ");
        match item {
            Node::Map(entries) if !entries.is_empty() => map(entries, depth + 1, out),
            // A list in a list: rare enough to be written as JSON, which YAML includes.
            other => {
                out.push_str(&scalar(other));
                out.push('\n');
            }
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(node: &Node) -> String {
    match node {
        Node::Text(words) => text(words),
        other => serde_json::to_string(other).expect("a document has text keys and finite numbers"),
    }
}

/// `text` as it is where it cannot be anything else than text, else in quotes.
fn text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain);
    let lower = text.to_ascii_lowercase();
    let reserved = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&lower.as_str());
    if word && !reserved {
        return text.to_owned();
    }
    serde_json::to_string(text).expect("text is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, output::json, sample};

    #[test]
    fn the_yaml_is_as_checked_in_and_says_the_same_as_the_json() {
        let yaml = print(&sample::graph());
        golden::compare("graph.yaml", &yaml);
        let from_yaml: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
        let from_json: serde_json::Value = serde_json::from_str(&json::print(&sample::graph())).unwrap();
        assert_eq!(from_yaml, from_json);
    }

    #[test]
    fn text_that_looks_like_something_else_stays_text() {
        let words =
            ["no", "Null", "1e3", "- a", "a: b", "", "0x1f", "a\u{1b}", "\u{85}", "'", "*x", "2026-01-02"];
        let node = Node::List(words.iter().map(|word| Node::Text((*word).to_owned())).collect());
        let nested = Node::Map(vec![
            ("on".into(), Node::List(vec![node, Node::Map(vec![]), Node::List(vec![])])),
            ("x".into(), Node::Map(vec![("y".into(), Node::Null), ("z".into(), Node::Number(1.5))])),
        ]);
        let back: serde_json::Value = serde_yaml::from_str(&document(&nested)).unwrap();
        assert_eq!(back, serde_json::to_value(&nested).unwrap());
    }
}
