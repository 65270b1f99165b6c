//! The whole graph at a position: gzip of a JSON document that a person can read with `gunzip` and `jq`.
//!
//! ```json
//! {"version":2,"epoch":1,"seq":7,"as_of":1735689600000,"entries":2,"sum":"af63bd4c8601b7df","graph":{…},"edges":{…}}
//! ```
//!
//! The edges are a table (`edges.rs`) beside the graph, whose own map of them is empty: written out they were nine tenths of
//! the document. Version 1 wrote them out and is read as well, so that a controller may be the older one. A reader of
//! version 1 refuses version 2.
//!
//! Gzip's own checksum covers the text. `sum` and `entries` cover what it means: they are made from the keys of all
//! maps, so a document that says a key twice, or that another version wrote with maps this one does not know, is
//! noticed. The numbers of the edges are not in it; they are in the newest [`frame`](super::frame).

pub use super::edges::Error as EdgesError;
use super::{Limits, edges::Table, fnv1a, fnv1a_from, fnv1a_of_all, is_id_of, read_bounded};
use crate::{feed::Position, model::Graph};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, io::BufWriter};

/// The version of the form that this code writes.
pub const VERSION: u32 = 2;
/// The version that it reads besides, with the edges written out in the graph.
pub const WRITTEN_OUT: u32 = 1;

/// A snapshot that was read; the numbers of the edges come separately.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// Where in the stream it stands.
    pub position: Position,
    /// When the leader took it, in milliseconds since the Unix epoch.
    pub as_of_ms: i64,
    /// The graph.
    pub graph: Graph,
}

/// Bytes that are not a snapshot, or one that must not be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many bytes, as they came or decompressed.
    #[error(
        "the snapshot has more than {limit} bytes {form}; raise the limit if the mesh is really that large"
    )]
    TooLarge {
        /// How many are accepted.
        limit: usize,
        /// `compressed`, `decompressed`, or `in its edges`.
        form: &'static str,
    },
    /// Not gzip, cut short or damaged.
    #[error("the snapshot is not whole gzip data")]
    Gzip(#[source] std::io::Error),
    /// Not the JSON of a snapshot.
    #[error("the snapshot is not one of a graph")]
    Json(#[source] serde_json::Error),
    /// Written by another version.
    #[error(
        "the snapshot has version {0} and this program reads versions {WRITTEN_OUT} and {VERSION}; run the same version everywhere"
    )]
    Version(u32),
    /// Not as many entries as it says.
    #[error("the snapshot has {found} entries and says it has {wanted}")]
    Entries {
        /// Counted.
        found: u64,
        /// As it says.
        wanted: u64,
    },
    /// Other keys than were written.
    #[error("the checksum of the snapshot's keys is `{found}` and should be `{wanted}`")]
    Sum {
        /// Of the keys that came.
        found: String,
        /// As it says.
        wanted: String,
    },
    /// An edge under an id that is not made of its two ends.
    #[error("the edge `{0}` has other ends than its id says")]
    OtherEnds(String),
    /// A table of edges that is not one.
    #[error("the edges of the snapshot cannot be put together")]
    Edges(#[source] EdgesError),
}

/// A snapshot of `graph` as bytes.
pub fn encode(position: Position, as_of_ms: i64, graph: &Graph) -> Vec<u8> {
    let (entries, sum) = keys(graph);
    let document = Written {
        version: VERSION,
        epoch: position.epoch,
        seq: position.seq,
        as_of: as_of_ms,
        entries,
        sum: format!("{sum:016x}"),
        graph: &Graph { edges: OrdMap::new(), ..graph.clone() },
        edges: Table::of(&graph.edges),
    };
    let gzip = GzEncoder::new(Vec::new(), Compression::new(1));
    // The serializer writes a few bytes at a time and the compressor has a price per call.
    let mut buffer = BufWriter::with_capacity(64 << 10, gzip);
    serde_json::to_writer(&mut buffer, &document).expect("a graph has string keys and memory does not fail");
    buffer
        .into_inner()
        .map_err(|error| error.into_error())
        .and_then(GzEncoder::finish)
        .expect("writing to memory does not fail")
}

/// Reads a snapshot.
///
/// # Errors
///
/// When it is too large, damaged, of another version, or not consistent in itself.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Topology, Error> {
    if bytes.len() > limits.compressed {
        return Err(Error::TooLarge { limit: limits.compressed, form: "compressed" });
    }
    let text = read_bounded(GzDecoder::new(bytes), likely_size(bytes), limits.decompressed)
        .map_err(Error::Gzip)?
        .ok_or(Error::TooLarge { limit: limits.decompressed, form: "decompressed" })?;
    let mut document: Read = serde_json::from_slice(&text).map_err(|error| not_a_snapshot(&text, error))?;
    drop(text);
    match document.version {
        WRITTEN_OUT => {}
        VERSION => {
            if !document.graph.edges.is_empty() {
                return Err(Error::Edges(EdgesError::Twice));
            }
            document.graph.edges = std::mem::take(&mut document.edges)
                .edges(limits.decompressed)
                .map_err(Error::Edges)?
                .ok_or(Error::TooLarge { limit: limits.decompressed, form: "in its edges" })?;
        }
        other => return Err(Error::Version(other)),
    }
    check(&document)?;
    Ok(Topology {
        position: Position { epoch: document.epoch, seq: document.seq },
        as_of_ms: document.as_of,
        graph: document.graph,
    })
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    epoch: u64,
    seq: u64,
    as_of: i64,
    entries: u64,
    sum: String,
    graph: &'a Graph,
    edges: Table<'a>,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    epoch: u64,
    seq: u64,
    as_of: i64,
    entries: u64,
    sum: String,
    graph: Graph,
    #[serde(default)]
    edges: Table<'static>,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn check(document: &Read) -> Result<(), Error> {
    let (found, sum) = keys(&document.graph);
    if found != document.entries {
        return Err(Error::Entries { found, wanted: document.entries });
    }
    if u64::from_str_radix(&document.sum, 16) != Ok(sum) {
        return Err(Error::Sum {
            found: format!("{sum:016x}"),
            wanted: document.sum.chars().take(32).collect(),
        });
    }
    // The ids of a table are made of its ends.
    let mut written_out = document.graph.edges.iter().filter(|_| document.version == WRITTEN_OUT);
    match written_out.find(|(id, edge)| !is_id_of(id, edge)) {
        Some((id, _)) => Err(Error::OtherEnds(id.to_string())),
        None => Ok(()),
    }
}

/// A document of another version need not have this version's form; then the version is what is wrong with it.
fn not_a_snapshot(text: &[u8], error: serde_json::Error) -> Error {
    match serde_json::from_slice::<VersionOnly>(text) {
        Ok(VersionOnly { version }) if ![WRITTEN_OUT, VERSION].contains(&version) => Error::Version(version),
        _ => Error::Json(error),
    }
}

/// How many entries the maps of `graph` have, and the XOR of the FNV-1a 64 hashes of `map/key` over all of them.
fn keys(graph: &Graph) -> (u64, u64) {
    fn fold<'a, K: Borrow<str> + 'a>(name: &str, keys: impl Iterator<Item = &'a K>) -> (u64, u64) {
        let start = fnv1a_from(fnv1a(name.as_bytes()), b"/");
        fnv1a_of_all(start, keys.map(Borrow::borrow))
    }
    [
        fold("services", graph.services.keys()),
        fold("workloads", graph.workloads.keys()),
        fold("externals", graph.externals.keys()),
        fold("edges", graph.edges.keys()),
        fold("authPolicies", graph.auth_policies.keys()),
        fold("policies", graph.policies.keys()),
        fold("namespaces", graph.namespaces.keys()),
    ]
    .into_iter()
    .fold((0, 0), |(count, sum), (more, other)| (count + more, sum ^ other))
}

/// Gzip ends with the size of the plain text. It may lie, so it is believed only as far as deflate can compress.
fn likely_size(bytes: &[u8]) -> usize {
    const BEST_RATIO: usize = 1032;
    let said = bytes.last_chunk().map_or(0, |size| u32::from_le_bytes(*size));
    usize::try_from(said).unwrap_or(usize::MAX).min(bytes.len().saturating_mul(BEST_RATIO))
}
