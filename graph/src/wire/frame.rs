//! The numbers of all edges at one poll: `mcp.v1.MetricColumns`, compressed with zstd.
//!
//! At every poll nearly every number changes. As JSON Patch that is 29 MB for 100,000 edges, as columns of fixed-point
//! numbers about 1 MB: edges are not named, column `i` belongs to the i-th edge in the order of their ids. So a frame
//! can be read only with the graph it was written for, and [`Frame::fit`] checks that it is that one. A frame that
//! belongs to another graph is no fault: topology and numbers travel separately, and one may be ahead.

use super::{Limits, read_bounded};
use crate::{
    feed::Position,
    id::Text,
    metrics::{EdgeMetrics, Metrics},
    model::Graph,
    status::MetricsStatus,
};
use linkerd_mcp_proto::v1::{Column, MetricColumns, StringList};
use prost::Message;
use std::{collections::HashMap, sync::Arc};

/// A frame that was read and that still has to be fitted to a graph.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The topology the numbers were computed on.
    pub position: Position,
    status: MetricsStatus,
    columns: MetricColumns,
    authorizations: Vec<Arc<[Text]>>,
    /// The empty list, for edges without one.
    nobody: Arc<[Text]>,
}

/// What a column holds.
enum Known {
    Number(&'static Number, f64),
    LastSeen,
}

/// Bytes that are not a frame, or one that must not be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many bytes, as they came or decompressed.
    #[error("the metric frame has more than {limit} bytes {form}")]
    TooLarge {
        /// How many are accepted.
        limit: usize,
        /// `compressed` or `decompressed`.
        form: &'static str,
    },
    /// Not zstd, cut short or damaged.
    #[error("the metric frame is not whole zstd data")]
    Zstd(#[source] std::io::Error),
    /// Not the protobuf of a frame.
    #[error("the metric frame is not `mcp.v1.MetricColumns`")]
    Protobuf(#[source] prost::DecodeError),
    /// Its status is not one.
    #[error("the status in the metric frame is not one")]
    Status(#[source] serde_json::Error),
    /// A column that does not have one value for each edge.
    #[error("column {field} of the metric frame has {found} values for {edges} edges")]
    Length {
        /// Field number in `mcp.v1.EdgeMetrics`.
        field: u32,
        /// Values.
        found: usize,
        /// Edges.
        edges: u32,
    },
    /// A column that comes twice, or with a scale that gives no numbers.
    #[error("column {field} of the metric frame comes twice or has the scale {scale}")]
    Column {
        /// Field number in `mcp.v1.EdgeMetrics`.
        field: u32,
        /// Units per 1.
        scale: u32,
    },
    /// A number that cannot be: below zero, or a share above one.
    #[error("column {field} of the metric frame has a number out of range")]
    Range {
        /// Field number in `mcp.v1.EdgeMetrics`.
        field: u32,
    },
    /// An index into the lists of authorizations that leads nowhere.
    #[error("the metric frame names list {0} of authorizations, which it does not have")]
    Authorization(u32),
}

/// The frame belongs to a graph with other edges: wait until topology has caught up, or for the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the metric frame is for {wanted} other edges than the {found} of this graph")]
pub struct OtherEdges {
    /// Edges of the frame.
    pub wanted: u32,
    /// Edges of the graph.
    pub found: usize,
}

/// One number of an edge and how it is written.
struct Number {
    /// Field number in `mcp.v1.EdgeMetrics`.
    field: u32,
    /// Units per 1.
    scale: u32,
    /// The largest value there can be.
    most: f64,
    get: fn(&EdgeMetrics) -> Option<f64>,
    set: fn(&mut EdgeMetrics, f64),
}

const fn number(
    field: u32,
    scale: u32,
    get: fn(&EdgeMetrics) -> Option<f64>,
    set: fn(&mut EdgeMetrics, f64),
) -> Number {
    Number { field, scale, most: f64::INFINITY, get, set }
}

const fn share(field: u32, get: fn(&EdgeMetrics) -> Option<f64>, set: fn(&mut EdgeMetrics, f64)) -> Number {
    // A millionth takes as many bytes as a ten-thousandth would, and keeps 99.999 % apart from 100 %.
    Number { field, scale: 1_000_000, most: 1.0, get, set }
}

static NUMBERS: [Number; 14] = [
    number(1, 1000, |row| row.rps, |row, value| row.rps = Some(value)),
    share(2, |row| row.success_rate, |row, value| row.success_rate = Some(value)),
    number(3, 1000, |row| row.p50_ms, |row, value| row.p50_ms = Some(value)),
    number(4, 1000, |row| row.p95_ms, |row, value| row.p95_ms = Some(value)),
    number(5, 1000, |row| row.p99_ms, |row, value| row.p99_ms = Some(value)),
    number(6, 10, |row| row.tcp_open, |row, value| row.tcp_open = Some(value)),
    number(7, 1000, |row| row.tcp_opened, |row, value| row.tcp_opened = Some(value)),
    number(8, 10, |row| row.sent, |row, value| row.sent = Some(value)),
    number(9, 10, |row| row.received, |row, value| row.received = Some(value)),
    number(10, 1000, |row| row.allowed, |row, value| row.allowed = Some(value)),
    number(11, 1000, |row| row.denied, |row, value| row.denied = Some(value)),
    share(12, |row| row.mtls_share, |row, value| row.mtls_share = Some(value)),
    number(13, 1000, |row| row.retries, |row, value| row.retries = Some(value)),
    number(16, 1000, |row| row.unrouted, |row, value| row.unrouted = Some(value)),
];

/// `last_seen_ms`, written as the distance from the frame's time.
const LAST_SEEN: u32 = 14;
const ABSENT: u64 = 0;
/// Beyond this a 64-bit float has no thousandths any more and the sum with one could overflow.
const LARGEST: f64 = (1_u64 << 53) as f64;

/// The frame of `metrics` for `graph` at `position`.
///
/// `edges_hash` is the hash of the graph's edges, from [`EdgesHash::of`](super::EdgesHash::of) or
/// [`Graph::edges_hash`]. Numbers of edges that the graph does not have are
/// left out; numbers that are not finite or below zero are absent; a number above zero stays above zero.
pub fn encode(position: Position, graph: &Graph, edges_hash: u64, metrics: &Metrics) -> Vec<u8> {
    let rows = aligned(graph, metrics);
    let as_of_ms = metrics.status.as_of_ms.unwrap_or_default();
    let (authorizations, authorization_index) = authorizations(&rows);
    let columns = MetricColumns {
        epoch: position.epoch,
        seq: position.seq,
        edges_hash,
        edge_count: u32::try_from(rows.len()).expect("a graph has fewer than 2^32 edges"),
        as_of_ms,
        columns: columns(&rows, as_of_ms),
        authorizations,
        authorization_index,
        status_json: serde_json::to_vec(&metrics.status).expect("a status has string keys").into(),
    };
    compressed(&columns.encode_to_vec())
}

/// Reads a frame. It is checked in itself; [`Frame::fit`] checks it against a graph.
///
/// # Errors
///
/// When it is too large, damaged, or holds numbers that cannot be.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Frame, Error> {
    if bytes.len() > limits.compressed {
        return Err(Error::TooLarge { limit: limits.compressed, form: "compressed" });
    }
    let plain = zstd::stream::read::Decoder::new(bytes)
        .and_then(|reader| read_bounded(reader, bytes.len().saturating_mul(4), limits.decompressed))
        .map_err(Error::Zstd)?
        .ok_or(Error::TooLarge { limit: limits.decompressed, form: "decompressed" })?;
    let mut columns = MetricColumns::decode(&*plain).map_err(Error::Protobuf)?;
    let status = serde_json::from_slice(&columns.status_json).map_err(Error::Status)?;
    check(&columns)?;
    let authorizations = std::mem::take(&mut columns.authorizations)
        .into_iter()
        .map(|list| list.values.into_iter().map(Text::from).collect())
        .collect();
    let position = Position { epoch: columns.epoch, seq: columns.seq };
    Ok(Frame { position, status, columns, authorizations, nobody: Arc::from([]) })
}

// === impl Frame ===

impl Frame {
    /// The numbers by edge id. `edges_hash` is the hash of the graph's edges. Edges without any number are left out.
    ///
    /// # Errors
    ///
    /// When the frame was written for a graph with other edges.
    pub fn fit(&self, graph: &Graph, edges_hash: u64) -> Result<Metrics, OtherEdges> {
        let wanted = self.columns.edge_count;
        let found = graph.edges.len();
        if u32::try_from(found) != Ok(wanted) || edges_hash != self.columns.edges_hash {
            return Err(OtherEdges { wanted, found });
        }
        let known: Vec<(&[u64], Known)> = self.known().collect();
        let has_any = |at: &usize| {
            known.iter().any(|(values, _)| values[*at] != ABSENT) || !self.authorized_by(*at).is_empty()
        };
        let places: Vec<usize> = (0..found).filter(has_any).collect();
        // A row is large, so each is made where it stays.
        let rows = places.iter().map(|at| self.row(&known, *at)).collect();
        let ids = match places.len() == found {
            true => graph.edges.keys().cloned().collect::<Vec<_>>().into(),
            false => {
                let keys: Vec<_> = graph.edges.keys().collect();
                places.iter().map(|at| keys[*at].clone()).collect()
            }
        };
        Ok(Metrics { status: self.status.clone(), ids, rows })
    }

    /// The columns that this version knows, each with one value per edge.
    fn known(&self) -> impl Iterator<Item = (&[u64], Known)> {
        self.columns.columns.iter().filter_map(|column| {
            let known = match column.field {
                LAST_SEEN => Known::LastSeen,
                field => {
                    Known::Number(NUMBERS.iter().find(|number| number.field == field)?, column.scale.into())
                }
            };
            Some((&*column.values, known))
        })
    }

    fn row(&self, columns: &[(&[u64], Known)], at: usize) -> EdgeMetrics {
        let mut row = EdgeMetrics { authorized_by: self.authorized_by(at).clone(), ..EdgeMetrics::default() };
        for (values, known) in columns.iter().filter(|(values, _)| values[at] != ABSENT) {
            let value = unzigzag(values[at]);
            match known {
                Known::LastSeen => row.last_seen_ms = Some(self.columns.as_of_ms.wrapping_add(value)),
                Known::Number(number, scale) => (number.set)(&mut row, value as f64 / scale),
            }
        }
        row
    }

    fn authorized_by(&self, at: usize) -> &Arc<[Text]> {
        match self.columns.authorization_index.get(at) {
            Some(list) => self.list(*list),
            None => &self.nobody,
        }
    }

    fn list(&self, at: u32) -> &Arc<[Text]> {
        let at = usize::try_from(at).expect("a pointer has at least 32 bits");
        self.authorizations.get(at).expect("every index was checked when the frame was read")
    }
}

// === impl Number ===

impl Number {
    /// The value as it is written; what cannot be true is absent.
    fn raw(&self, row: &EdgeMetrics) -> u64 {
        match (self.get)(row) {
            Some(value) if (0.0..=self.most).contains(&value) => {
                let scaled = value * f64::from(self.scale);
                // Too small for the scale is still not nothing.
                let rounded = if value > 0.0 { scaled.round().max(1.0) } else { 0.0 };
                if rounded < LARGEST { zigzag(rounded as i64) } else { ABSENT }
            }
            _ => ABSENT,
        }
    }
}

/// The numbers for each edge of `graph` in its order. Both are sorted, so one pass does.
fn aligned<'a>(graph: &Graph, metrics: &'a Metrics) -> Vec<Option<&'a EdgeMetrics>> {
    let mut known = metrics.iter().peekable();
    graph
        .edges
        .keys()
        .map(|id| {
            // Most often it is the same id, and then the same pointer: no text is compared.
            if let Some((_, row)) = known.next_if(|(other, _)| *other == id) {
                return Some(row);
            }
            while known.next_if(|(other, _)| *other < id).is_some() {}
            known.next_if(|(other, _)| *other == id).map(|(_, row)| row)
        })
        .collect()
}

/// The columns that any edge has a number in. One pass over the rows, which are large, fills all of them.
fn columns(rows: &[Option<&EdgeMetrics>], as_of_ms: i64) -> Vec<Column> {
    let kinds = NUMBERS.iter().map(|number| (number.field, number.scale)).chain([(LAST_SEEN, 1)]);
    let mut columns: Vec<Column> =
        kinds.map(|(field, scale)| Column { field, scale, values: vec![ABSENT; rows.len()] }).collect();
    for (at, row) in rows.iter().enumerate() {
        let Some(row) = row else { continue };
        for (number, column) in NUMBERS.iter().zip(&mut columns) {
            column.values[at] = number.raw(row);
        }
        if let (Some(ms), Some(column)) = (row.last_seen_ms, columns.last_mut()) {
            column.values[at] = zigzag(ms.wrapping_sub(as_of_ms));
        }
    }
    columns.retain(|column| column.values.iter().any(|value| *value != ABSENT));
    columns
}

/// The distinct lists of authorizations and each edge's index into them; both empty when no edge has any.
fn authorizations(rows: &[Option<&EdgeMetrics>]) -> (Vec<StringList>, Vec<u32>) {
    if rows.iter().flatten().all(|row| row.authorized_by.is_empty()) {
        return (Vec::new(), Vec::new());
    }
    let mut lists: Vec<&[Text]> = Vec::new();
    let mut places: HashMap<&[Text], u32, ahash::RandomState> = HashMap::default();
    let index = rows
        .iter()
        .map(|row| {
            let list = row.map_or(&[][..], |row| &*row.authorized_by);
            *places.entry(list).or_insert_with(|| {
                lists.push(list);
                u32::try_from(lists.len() - 1).expect("there are fewer lists than edges")
            })
        })
        .collect();
    let lists = lists
        .into_iter()
        .map(|list| StringList { values: list.iter().map(|name| name.to_string()).collect() })
        .collect();
    (lists, index)
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::bulk::Compressor::new(1).expect("level 1 exists");
    encoder.include_checksum(true).expect("zstd has checksums");
    encoder.compress(plain).expect("memory for the compressed frame was reserved from its bound")
}

fn check(columns: &MetricColumns) -> Result<(), Error> {
    let edges = columns.edge_count;
    let full = |values: usize| u32::try_from(values) == Ok(edges);
    let mut seen = Vec::new();
    for Column { field, scale, values } in &columns.columns {
        let (field, scale) = (*field, *scale);
        if scale == 0 || seen.contains(&field) || (field == LAST_SEEN && scale != 1) {
            return Err(Error::Column { field, scale });
        }
        seen.push(field);
        if !full(values.len()) {
            return Err(Error::Length { field, found: values.len(), edges });
        }
        // A field that this version does not know is skipped: another version may have more numbers.
        if let Some(number) = NUMBERS.iter().find(|number| number.field == field) {
            let most = number.most * f64::from(scale);
            let fits = |value: &u64| *value == ABSENT || (0.0..=most).contains(&(unzigzag(*value) as f64));
            if !values.iter().all(fits) {
                return Err(Error::Range { field });
            }
        }
    }
    let index = &columns.authorization_index;
    if !index.is_empty() && !full(index.len()) {
        return Err(Error::Length { field: 15, found: index.len(), edges });
    }
    match index.iter().find(|at| usize::try_from(**at).map_or(true, |at| at >= columns.authorizations.len()))
    {
        Some(at) => Err(Error::Authorization(*at)),
        None => Ok(()),
    }
}

/// Zigzag, plus one, so that [`ABSENT`] is free.
fn zigzag(value: i64) -> u64 {
    // The farthest distance there is would overflow and be taken for absent, which nothing real comes near.
    (((value << 1) ^ (value >> 63)) as u64).wrapping_add(1)
}

fn unzigzag(value: u64) -> i64 {
    let value = value.wrapping_sub(1);
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
