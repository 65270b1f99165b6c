//! What a replica reads from the channel and the log of changes.

use crate::{mesh, seed, split};
use linkerd_mcp_graph::{
    delta,
    feed::{
        Event,
        reader::{Command, Input, Notice, Options, Output, Reader},
    },
    model::Graph,
    query,
    wire::{Limits, envelope, patch, snapshot},
};
use std::{sync::Arc, time::Duration};

/// Form `b`: an envelope. `p`: the patch in one. Other: envelopes, a line each, that a reader is pushed.
pub fn run(input: &[u8]) {
    match split(input) {
        (b'b', bytes) => one(bytes),
        (b'p', text) => {
            if let Ok(text) = std::str::from_utf8(text) {
                patched(text);
            }
        }
        (_, lines) => pushed(lines),
    }
}

fn one(bytes: &[u8]) {
    let Ok(envelope) = envelope::decode(bytes) else { return };
    let again = envelope::encode(envelope.position, envelope.as_of_ms, envelope.patch);
    assert_eq!(envelope::decode(again.as_bytes()).expect("an accepted envelope can be written"), envelope);
    if let Some(text) = envelope.patch {
        patched(text);
    }
}

fn patched(text: &str) {
    let old = mesh::graph();
    let Ok(delta) = patch::decode(text) else { return };
    assert_eq!(patch::decode(&patch::encode(&delta)).expect("an accepted patch can be written"), delta);
    let Ok(new) = delta::apply(old, &delta) else { return };
    // Whoever follows changes and whoever takes snapshots must see the same.
    let bytes = snapshot::encode(mesh::AT, mesh::AS_OF_MS, &new);
    let back = snapshot::decode(&bytes, Limits::SNAPSHOT).expect("a graph that was made here can be read");
    assert_eq!(back.graph, new);
    let written =
        patch::decode(&patch::encode(&delta::diff(old, &new))).expect("a difference can be written");
    assert_eq!(delta::apply(old, &written).as_ref(), Ok(&new));
    let mut index = query::Index::of(old);
    index.apply(old, &delta);
    assert_eq!(index, query::Index::of(&new), "the index follows any change");
}

/// A reader that is pushed these lines has, after each, exactly the graph that its events tell of.
fn pushed(lines: &[u8]) {
    let options = Options {
        frame: Limits::FRAME,
        silence: Duration::from_secs(10),
        between_requests: Duration::from_secs(1),
    };
    let mut reader = Reader::new(options, 1);
    let now = Duration::from_secs(1);
    let bytes = snapshot::encode(mesh::AT, mesh::AS_OF_MS, &Graph::default());
    reader.take(now, Input::Connected);
    let snapshot = Some(snapshot::decode(&bytes, Limits::SNAPSHOT));
    reader.take(now, Input::Snapshot { snapshot, frame: None });
    reader.take(now, Input::Log { reign: Some(mesh::AT.epoch), entries: &[] });
    let mut known = None;
    for line in std::iter::once(&[][..]).chain(lines.split(|byte| *byte == b'\n').take(16)) {
        if known.is_some() && matches!(reader.command(now), Command::Listen { .. }) {
            reader.take(now, Input::Envelope(line));
        }
        let before = known.clone();
        let (mut refused, mut applied) = (false, false);
        while let Some(output) = reader.output() {
            match output {
                Output::Event(Event::Snapshot(snapshot)) => known = Some((snapshot.position, snapshot.graph)),
                Output::Event(Event::Delta { position, delta, .. }) => {
                    applied = true;
                    let (at, graph) = known.as_ref().expect("a snapshot comes first");
                    assert_eq!((position.epoch, position.seq), (at.epoch, at.seq + 1), "changes are dense");
                    known = Some((position, Arc::new(delta::apply(graph, &delta).expect("it fits"))));
                }
                Output::Event(_) => {}
                Output::Notice(notice) => refused |= matches!(notice, Notice::Refused(_)),
            }
        }
        assert!(!(refused && applied), "what is refused is not applied");
        if !applied && before.is_some() {
            assert_eq!(known, before, "nothing changes without a change");
        }
        assert_eq!(reader.position(), known.as_ref().map(|(position, _)| *position));
    }
    assert!(known.is_some(), "the reader has its first snapshot");
}

/// Changes of the recorded mesh, whole and one entry at a time; heartbeats, gaps, and other reigns.
pub fn seeds() -> Vec<Vec<u8>> {
    let (old, empty) = (mesh::graph(), Graph::default());
    let mut patches: Vec<String> = vec![patch::encode(&delta::diff(old, &empty))];
    let mut less = old.clone();
    less.services = less.services.iter().skip(1).map(|(id, it)| (id.clone(), it.clone())).collect();
    less.edges = less.edges.iter().skip(1).map(|(id, it)| (id.clone(), it.clone())).collect();
    patches.push(patch::encode(&delta::diff(old, &less)));
    patches.push(patch::encode(&delta::diff(&less, old)));
    let all: Vec<serde_json::Value> =
        serde_json::from_str(&patch::encode(&delta::diff(&empty, old))).expect("a patch is JSON");
    for (nth, operation) in all.iter().enumerate() {
        if nth % 5 == 0 || operation["path"].as_str().is_some_and(|path| path.starts_with("/edges")) {
            patches.push(serde_json::json!([operation]).to_string());
        }
    }
    let at = |epoch, seq| linkerd_mcp_graph::feed::Position { epoch: mesh::AT.epoch + epoch, seq };
    let mut seeds = Vec::new();
    let mut lines = Vec::new();
    for (seq, text) in (8..).zip(&patches) {
        seeds.push(seed(b'p', text));
        let envelope = envelope::encode(at(0, seq), mesh::AS_OF_MS, Some(text));
        seeds.push(seed(b'b', &envelope));
        if seq > 10 && lines.len() < 8 {
            lines.push(envelope::encode(at(0, 8 + lines.len() as u64), mesh::AS_OF_MS, Some(text)));
        }
    }
    seeds.push(seed(b'l', lines.join("\n")));
    lines.insert(1, envelope::encode(at(0, 8), mesh::AS_OF_MS, None));
    lines.insert(3, envelope::encode(at(0, 99), mesh::AS_OF_MS, None));
    lines.insert(4, envelope::encode(at(1, 1), mesh::AS_OF_MS, Some("[]")));
    seeds.push(seed(b'l', lines.join("\n")));
    seeds
}
