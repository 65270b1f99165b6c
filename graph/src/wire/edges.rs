//! The edges of a snapshot as a table, in which every text stands once.
//!
//! Ten thousand workloads make a hundred thousand edges. Written out, each says its two ends twice, and what answers at
//! a destination stands there once for each of its callers.

use crate::{
    id::{Destination, EdgeId, ParseError, ServiceId, Source, Text, WorkloadId},
    model::{Edge, ObservedBy, Protocol, Tls},
};
use ahash::AHashMap;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, hash::Hash, mem, sync::Arc};

/// Lists of what edges are made of, and for each edge, in the order of their ids, the places of its parts in them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Table<'a> {
    sources: Vec<String>,
    destinations: Vec<String>,
    clients: Vec<Text>,
    calls: Vec<Call<'a>>,
    source: Vec<u32>,
    destination: Vec<u32>,
    client: Vec<Option<u32>>,
    call: Vec<u32>,
}

/// What callers of a destination mostly have in common: all of an edge but its ends and the client's identity.
#[derive(Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Call<'a> {
    protocol: Protocol,
    #[serde(flatten)]
    tls: Cow<'a, Tls>,
    #[serde(default, skip_serializing_if = "is_empty")]
    server_identities: Cow<'a, [Text]>,
    #[serde(default, skip_serializing_if = "is_empty")]
    workloads: Cow<'a, [WorkloadId]>,
    #[serde(default, skip_serializing_if = "is_empty")]
    backends: Cow<'a, [ServiceId]>,
    observed_by: ObservedBy,
    #[serde(default, skip_serializing_if = "is_empty")]
    candidates: Cow<'a, [WorkloadId]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_cluster: Option<Cow<'a, Text>>,
}

/// Places in a list whose entries differ.
struct Places<'a, K>(AHashMap<&'a K, u32>);

/// A table that edges cannot be made of.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The graph has edges and the table as well.
    #[error("they are there twice")]
    Twice,
    /// The columns do not belong together.
    #[error("the columns have {0:?} rows")]
    Columns([usize; 4]),
    /// A place beyond the end of its list.
    #[error("row {row} names entry {place} of a list that has {len}")]
    Place {
        /// Counted from zero.
        row: usize,
        /// Counted from zero.
        place: u32,
        /// How many there are.
        len: usize,
    },
    /// An end that is none.
    #[error("an end of an edge cannot be read")]
    End(#[source] ParseError),
}

#[expect(clippy::ptr_arg, reason = "serde calls it with what the field is")]
fn is_empty<T: Clone>(list: &Cow<'_, [T]>) -> bool {
    list.is_empty()
}

// === impl Table ===

impl<'a> Table<'a> {
    pub(super) fn of(edges: &'a OrdMap<EdgeId, Arc<Edge>>) -> Self {
        let mut table = Self::default();
        let (mut sources, mut destinations) = (Places::default(), Places::default());
        let (mut clients, mut calls) = (Places::default(), AHashMap::new());
        for edge in edges.values() {
            let (call, client_identity) = Call::of(edge);
            table.source.push(sources.of(&edge.src, |it| table.sources.push(it.to_string())));
            table.destination.push(destinations.of(&edge.dst, |it| table.destinations.push(it.to_string())));
            let client = client_identity.map(|name| clients.of(name, |it| table.clients.push(it.clone())));
            table.client.push(client);
            let next = place(calls.len());
            table.call.push(*calls.entry(call).or_insert(next));
        }
        let mut calls: Vec<_> = calls.into_iter().collect();
        calls.sort_unstable_by_key(|(_, place)| *place);
        table.calls = calls.into_iter().map(|(call, _)| call).collect();
        table
    }

    /// The edges; `None` when they would take more than `limit` bytes. A few bytes of a table can stand for many.
    ///
    /// Two rows with the same ends are one edge then, which whoever counts them notices.
    pub(super) fn edges(self, limit: usize) -> Result<Option<OrdMap<EdgeId, Arc<Edge>>>, Error> {
        let lengths = [self.source.len(), self.destination.len(), self.client.len(), self.call.len()];
        if lengths.iter().any(|len| *len != lengths[0]) {
            return Err(Error::Columns(lengths));
        }
        let sources = ends::<Source>(&self.sources)?;
        let destinations = ends::<Destination>(&self.destinations)?;
        let mut edges = OrdMap::new();
        let mut left = limit;
        let columns = self.source.iter().zip(&self.destination).zip(&self.client).zip(&self.call);
        for (row, (((source, destination), client), call)) in columns.enumerate() {
            let (source_text, src) = at(&sources, *source, row)?;
            let (destination_text, dst) = at(&destinations, *destination, row)?;
            let client_identity = client.map(|client| at(&self.clients, client, row)).transpose()?;
            let call = at(&self.calls, *call, row)?;
            let bytes = mem::size_of::<Edge>()
                .saturating_add(source_text.len().saturating_add(destination_text.len()))
                .saturating_add(call.list_bytes());
            let Some(rest) = left.checked_sub(bytes) else { return Ok(None) };
            left = rest;
            let edge = call.edge(src.clone(), dst.clone(), client_identity.cloned());
            edges.insert(EdgeId::of_texts(source_text, destination_text), Arc::new(edge));
        }
        Ok(Some(edges))
    }
}

/// Each with the text that ids have of it, which need not be the one that was written.
fn ends<T>(texts: &[String]) -> Result<Vec<(String, T)>, Error>
where
    T: std::str::FromStr<Err = ParseError> + ToString,
{
    let end = |text: &String| text.parse::<T>().map(|end| (end.to_string(), end)).map_err(Error::End);
    texts.iter().map(end).collect()
}

fn at<T>(list: &[T], place: u32, row: usize) -> Result<&T, Error> {
    let entry = usize::try_from(place).ok().and_then(|place| list.get(place));
    entry.ok_or(Error::Place { row, place, len: list.len() })
}

fn place(len: usize) -> u32 {
    u32::try_from(len).expect("a graph with 2^32 edges does not fit into memory")
}

// === impl Call ===

impl<'a> Call<'a> {
    /// And the identity of the client, which is not part of it.
    fn of(edge: &'a Edge) -> (Self, Option<&'a Text>) {
        // Every field by name: one that is new has to be written too.
        let Edge {
            src: _,
            dst: _,
            protocol,
            tls,
            client_identity,
            server_identities,
            workloads,
            backends,
            observed_by,
            candidates,
            target_cluster,
        } = edge;
        let call = Self {
            protocol: *protocol,
            tls: Cow::Borrowed(tls),
            server_identities: Cow::Borrowed(server_identities),
            workloads: Cow::Borrowed(workloads),
            backends: Cow::Borrowed(backends),
            observed_by: *observed_by,
            candidates: Cow::Borrowed(candidates),
            target_cluster: target_cluster.as_ref().map(Cow::Borrowed),
        };
        (call, client_identity.as_ref())
    }

    fn edge(&self, src: Source, dst: Destination, client_identity: Option<Text>) -> Edge {
        Edge {
            src,
            dst,
            protocol: self.protocol,
            tls: Tls::clone(&self.tls),
            client_identity,
            server_identities: self.server_identities.to_vec(),
            workloads: self.workloads.to_vec(),
            backends: self.backends.to_vec(),
            observed_by: self.observed_by,
            candidates: self.candidates.to_vec(),
            target_cluster: self.target_cluster.as_deref().cloned(),
        }
    }

    /// What the lists take in every edge, besides the texts, which are shared.
    fn list_bytes(&self) -> usize {
        let entries =
            [self.server_identities.len(), self.workloads.len(), self.backends.len(), self.candidates.len()];
        entries
            .iter()
            .fold(0_usize, |sum, len| sum.saturating_add(*len))
            .saturating_mul(mem::size_of::<Text>())
    }
}

// === impl Places ===

impl<'a, K: Eq + Hash> Places<'a, K> {
    /// The place of `entry`; `add` puts it at the end of the list when it is new.
    fn of(&mut self, entry: &'a K, add: impl FnOnce(&K)) -> u32 {
        let next = place(self.0.len());
        *self.0.entry(entry).or_insert_with(|| {
            add(entry);
            next
        })
    }
}

impl<K> Default for Places<'_, K> {
    fn default() -> Self {
        Self(AHashMap::new())
    }
}
