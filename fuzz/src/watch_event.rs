//! What the controller reads from the API server: lines of watches and pages of lists, of every kind.

use crate::{mesh, seed, split};
use linkerd_mcp_controller::fuzz::{list_page, watch_line};
use linkerd_mcp_graph::{
    assemble::Cluster,
    fact::Change,
    index::Index,
    kind::KINDS,
    policy::{Policies, PolicyCluster},
    query,
    wire::{Limits, snapshot},
};
use serde_json::json;

/// Lines of one input.
const MAX_LINES: usize = 24;

/// Lines of watches; the first byte of each says of which kind: `A` and so on in the order of the kinds. A small
/// letter marks the page of a list.
pub fn run(input: &[u8]) {
    let changes: Vec<Change> =
        input.split(|byte| *byte == b'\n').take(MAX_LINES).filter_map(change).collect();
    if changes.is_empty() {
        return;
    }
    // After every change, and after all at once.
    let (mut each, mut all) = (Index::new(Cluster::default()), Index::new(Cluster::default()));
    for change in changes {
        each.change(change.clone());
        each.refresh();
        all.change(change);
    }
    all.refresh();
    assert_eq!(each.graph(), all.graph(), "the order of work changes nothing");
    // Whatever the API server says: what is published can be read.
    let graph = each.graph();
    let bytes = snapshot::encode(mesh::AT, mesh::AS_OF_MS, graph);
    let back = snapshot::decode(&bytes, Limits::SNAPSHOT).expect("replicas can read what is published");
    assert_eq!(back.graph, *graph);
    let _ = query::Index::of(graph);
    let policies = Policies::read(each.facts(), &PolicyCluster::default());
    for ignored in policies.ignored() {
        assert!(!ignored.fault.to_string().is_empty());
    }
}

fn change(line: &[u8]) -> Option<Change> {
    let (first, json) = split(line);
    let nth = usize::from(first.to_ascii_uppercase().wrapping_sub(b'A')) % KINDS.len();
    let kind = KINDS[nth].kind;
    match first.is_ascii_lowercase() {
        true => list_page(kind, json).map(|facts| Change::Reset(kind, facts)),
        false => watch_line(kind, json),
    }
}

/// Every object of the recorded mesh as an event, deletions, bookmarks, errors, a list of each kind, and some in a row.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for (nth, row) in (b'A'..).zip(KINDS) {
        let mut items: Vec<_> = mesh::objects()
            .into_iter()
            .filter(|(kind, _)| *kind == row.kind)
            .map(|(_, object)| object)
            .collect();
        items.truncate(5);
        for object in &mut items {
            object["metadata"]["resourceVersion"] = json!("7");
            for kind in ["ADDED", "DELETED"] {
                lines.push(seed(nth, json!({"type": kind, "object": object}).to_string()));
            }
        }
        let page = json!({"metadata": {"resourceVersion": "9", "continue": "x"}, "items": items});
        lines.push(seed(nth.to_ascii_lowercase(), page.to_string()));
    }
    for other in [
        json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}}),
        json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}),
    ] {
        lines.push(seed(b'D', other.to_string()));
    }
    // The parser goes 128 levels deep, and a snapshot adds some to those of an object.
    for depth in [60, 122, 125] {
        let spec = ["[".repeat(depth), "]".repeat(depth)].concat();
        lines.push(seed(b'H', format!(
            r#"{{"type":"ADDED","object":{{"metadata":{{"name":"a","namespace":"b","resourceVersion":"7"}},"spec":{spec}}}}}"#
        )));
    }
    for name in ["a/b", "a b", "\u{e9}", "", "a->b", &"a".repeat(254)] {
        for nth in [b'A', b'B', b'D', b'H', b'J', b'U'] {
            let metadata = json!({"name": name, "namespace": name, "resourceVersion": "7"});
            lines.push(seed(nth, json!({"type": "ADDED", "object": {"metadata": metadata}}).to_string()));
        }
    }
    let mut seeds: Vec<Vec<u8>> = lines.chunks(MAX_LINES / 2).map(|some| some.join(&b'\n')).collect();
    seeds.extend(lines);
    seeds
}
