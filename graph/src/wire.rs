//! How the graph travels over Redis: snapshots, deltas and metric frames as bytes, and the names of the keys and
//! channels they travel by.
//!
//! | what | form | file |
//! |---|---|---|
//! | delta | RFC 6902 JSON Patch of the graph's JSON, in an envelope with its position and a checksum | [`patch`], [`envelope`] |
//! | snapshot | gzip of a JSON document | [`snapshot`] |
//! | numbers of the edges | columns of fixed-point numbers, protobuf, zstd | [`frame`] |
//!
//! Everything that is read here may be broken or hostile: readers are bounded by [`Limits`], check what they read and
//! never panic. An error says what is wrong; what to do is always the same, take a new snapshot.

mod edges;
pub mod envelope;
pub mod frame;
pub mod patch;
pub mod snapshot;

use crate::{
    id::EdgeId,
    model::{Edge, Graph},
};
use imbl::{OrdMap, ordmap::DiffItem};
use std::{
    fmt::{self, Write},
    io::Read,
    sync::Arc,
};

/// Who leads: `<pod uid>/<nonce>`, with an expiry.
pub const LEADER: &str = "mcp:leader";
/// The reign of the leader, only ever growing: the fencing token.
pub const EPOCH: &str = "mcp:epoch";
/// The newest snapshot, with an expiry.
pub const SNAPSHOT: &str = "mesh:snapshot";
/// Channel: every envelope as it is published.
pub const DELTA: &str = "mesh:delta";
/// Stream: the last envelopes that carry a change. Entry ids are `epoch-seq`.
pub const DELTAS: &str = "mesh:deltas";
/// Key and channel: the newest metric frame.
pub const METRICS: &str = "mesh:metrics";
/// Channel: a reader asks for a snapshot.
pub const RESYNC: &str = "mesh:resync";
/// Before the hash of its token: a plan of a change, with an expiry. Taken once.
pub const PLAN: &str = "mcp:plan:";
/// Stream: the ids of changes of policy, as they were made.
pub const CHANGES: &str = "mcp:changes";
/// Before its id: a change of policy, with an expiry; and under the same name with `:images` what was there before it.
pub const CHANGE: &str = "mcp:change:";
/// Hash: the changes that are watched, by id.
pub const GUARDS: &str = "mcp:guards";
/// Before its id: the replica that watches a change, with an expiry.
pub const GUARD: &str = "mcp:guard:";
/// The field of an entry of [`DELTAS`] that holds the envelope.
pub const ENVELOPE_FIELD: &str = "envelope";
/// How long a snapshot and a metric frame stay in Redis, in seconds.
pub const EXPIRY_S: u64 = 600;

/// The names of the keys and channels, with a prefix.
///
/// Readers and writer must have the same one. It keeps several meshes or tests apart, and as a hash tag (`{mesh}:`) it
/// puts all keys into one slot of a Redis Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// [`LEADER`] with the prefix.
    pub leader: String,
    /// [`EPOCH`] with the prefix.
    pub epoch: String,
    /// [`SNAPSHOT`] with the prefix.
    pub snapshot: String,
    /// [`DELTA`] with the prefix.
    pub delta: String,
    /// [`DELTAS`] with the prefix.
    pub deltas: String,
    /// [`METRICS`] with the prefix.
    pub metrics: String,
    /// [`RESYNC`] with the prefix.
    pub resync: String,
    /// [`PLAN`] with the prefix.
    pub plan: String,
    /// [`CHANGES`] with the prefix.
    pub changes: String,
    /// [`CHANGE`] with the prefix.
    pub change: String,
    /// [`GUARDS`] with the prefix.
    pub guards: String,
    /// [`GUARD`] with the prefix.
    pub guard: String,
}

/// How much a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes as they come.
    pub compressed: usize,
    /// Bytes once decompressed.
    pub decompressed: usize,
}

/// The hash of a graph's edge ids, [`Graph::edges_hash`], kept up to date at the cost of what changed.
#[derive(Debug, Clone, Default)]
pub struct EdgesHash {
    edges: OrdMap<EdgeId, Arc<Edge>>,
    hash: u64,
}

/// FNV-1a, 64 bits: stable across versions and machines.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    fnv1a_from(FNV1A, bytes)
}

/// Where FNV-1a begins.
pub(crate) const FNV1A: u64 = 0xcbf2_9ce4_8422_2325;

/// How many `texts` there are, and the XOR of their hashes, each begun from `start`.
///
/// Every step of one hash waits for the step before, so four are made at once in the time of one.
pub(crate) fn fnv1a_of_all<'a>(start: u64, texts: impl IntoIterator<Item = &'a str>) -> (u64, u64) {
    let mut texts = texts.into_iter().map(str::as_bytes);
    let (mut count, mut sum) = (0, 0);
    loop {
        let four: [Option<&[u8]>; 4] = std::array::from_fn(|_| texts.next());
        let [Some(a), Some(b), Some(c), Some(d)] = four else {
            // The last ones.
            return four
                .into_iter()
                .flatten()
                .fold((count, sum), |(count, sum), text| (count + 1, sum ^ fnv1a_from(start, text)));
        };
        let four = [a, b, c, d];
        let common = four.iter().map(|text| text.len()).min().unwrap_or_default();
        let [a, b, c, d] = four.map(|text| &text[..common]);
        let mut hashes = [start; 4];
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            for (hash, byte) in hashes.iter_mut().zip([*a, *b, *c, *d]) {
                *hash = fnv1a_step(*hash, byte);
            }
        }
        for (hash, text) in hashes.into_iter().zip(four) {
            sum ^= fnv1a_from(hash, &text[common..]);
        }
        count += 4;
    }
}

fn fnv1a_step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// Goes on with a hash where [`fnv1a`] stopped.
fn fnv1a_from(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| fnv1a_step(hash, *byte))
}

/// True when `id` is the id of `edge`: the one is made of the other's ends.
fn is_id_of(id: &EdgeId, edge: &Edge) -> bool {
    /// Compares what is written to it, so that no string has to be built for each of 100,000 edges.
    struct Rest<'a>(&'a str);
    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(id.as_str());
    write!(rest, "{}->{}", edge.src, edge.dst).is_ok() && rest.0.is_empty()
}

/// Reads all of `reader`, at most `limit` bytes; `None` when there is more. `likely` is the expected size.
fn read_bounded(reader: impl Read, likely: usize, limit: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(likely.min(limit).saturating_add(1));
    let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(cap).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

// === impl Names ===

impl Names {
    /// The names with `prefix` before them; it may be empty.
    pub fn new(prefix: &str) -> Self {
        let name = |name: &str| format!("{prefix}{name}");
        Self {
            leader: name(LEADER),
            epoch: name(EPOCH),
            snapshot: name(SNAPSHOT),
            delta: name(DELTA),
            deltas: name(DELTAS),
            metrics: name(METRICS),
            resync: name(RESYNC),
            plan: name(PLAN),
            changes: name(CHANGES),
            change: name(CHANGE),
            guards: name(GUARDS),
            guard: name(GUARD),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new("")
    }
}

// === impl Limits ===

impl Limits {
    /// For snapshots: the JSON of a graph has about 460 bytes per edge, so this is enough for 550,000 edges.
    pub const SNAPSHOT: Self = Self { compressed: 64 << 20, decompressed: 256 << 20 };
    /// For metric frames: about 20 bytes per edge compressed, so this is enough for 800,000 edges.
    pub const FRAME: Self = Self { compressed: 16 << 20, decompressed: 64 << 20 };
}

// === impl EdgesHash ===

impl EdgesHash {
    /// The hash of the edge ids of `graph`. Cheap when `graph` was made from the graph of the call before.
    pub fn of(&mut self, graph: &Graph) -> u64 {
        if self.edges.is_empty() {
            *self = Self { edges: graph.edges.clone(), hash: graph.edges_hash() };
            return self.hash;
        }
        for item in self.edges.diff(&graph.edges) {
            match item {
                DiffItem::Add(id, _) | DiffItem::Remove(id, _) => self.hash ^= fnv1a(id.as_str().as_bytes()),
                DiffItem::Update { .. } => {}
            }
        }
        self.edges = graph.edges.clone();
        self.hash
    }
}
