//! A delta as the text of an RFC 6902 JSON Patch, and back.
//!
//! The document it patches is the JSON of [`Graph`](crate::model::Graph): maps keyed by stable ids, so a path never
//! holds an array index. We write whole entries with `add` (which replaces an entry that is there) and `remove`, and
//! read nothing else: whatever was not written by us is an error.

use super::is_id_of;
use crate::{
    delta::{Changes, Delta},
    id::{Form, Id, Text},
    model::{Edge, External, Namespace, Policy, Service, Workload},
    policy::PolicyCluster,
    status::TopologyStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    borrow::{Borrow, Cow},
    sync::Arc,
};

/// A patch that this feed does not write.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an array of operations.
    #[error("not a JSON Patch")]
    Json(#[source] serde_json::Error),
    /// Another operation than `add` and `remove`, or `remove` of what is never removed.
    #[error("the operation `{op}` on `{path}` is not one this feed uses")]
    Operation {
        /// The operation.
        op: String,
        /// Its path.
        path: String,
    },
    /// A path that leads to no entry of the graph.
    #[error("the path `{0}` is not one of an entry of the graph")]
    Path(String),
    /// A value of the wrong form.
    #[error("the value at `{path}` is not what belongs there")]
    Value {
        /// Where.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// `add` without a value.
    #[error("`add` on `{0}` comes without a value")]
    NoValue(String),
    /// An edge under an id that is not made of its two ends.
    #[error("the edge at `{0}` has other ends than its id says")]
    OtherEnds(String),
}

const SERVICES: &str = "services";
const WORKLOADS: &str = "workloads";
const EXTERNALS: &str = "externals";
const EDGES: &str = "edges";
const AUTH_POLICIES: &str = "authPolicies";
const POLICIES: &str = "policies";
const NAMESPACES: &str = "namespaces";
const STATUS: &str = "/status";
const CLUSTER: &str = "/cluster";

/// The JSON Patch that does to the JSON of a graph what `delta` does to the graph.
pub fn encode(delta: &Delta) -> String {
    let mut patch = Writer { text: String::from("[") };
    patch.changes(SERVICES, &delta.services);
    patch.changes(WORKLOADS, &delta.workloads);
    patch.changes(EXTERNALS, &delta.externals);
    patch.changes(EDGES, &delta.edges);
    patch.changes(AUTH_POLICIES, &delta.auth_policies);
    patch.changes(POLICIES, &delta.policies);
    patch.changes(NAMESPACES, &delta.namespaces);
    if let Some(status) = &delta.status {
        patch.add(STATUS, &**status);
    }
    if let Some(cluster) = &delta.cluster {
        patch.add(CLUSTER, cluster);
    }
    patch.text.push(']');
    patch.text
}

/// The delta that `text` is the JSON Patch of.
///
/// # Errors
///
/// When `text` holds anything that [`encode`] does not write.
pub fn decode(text: &str) -> Result<Delta, Error> {
    let operations: Vec<Operation<'_>> = serde_json::from_str(text).map_err(Error::Json)?;
    let mut delta = Delta::default();
    for operation in &operations {
        take(&mut delta, operation)?;
    }
    Ok(delta)
}

/// One operation of a JSON Patch. Members that RFC 6902 gives to other operations are ignored, as it asks for.
#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

struct Writer {
    text: String,
}

/// What an operation does to one entry.
enum Entry<K, V> {
    Put(K, Arc<V>),
    Remove(K),
}

/// A key of one of the graph's maps.
trait Key: Sized {
    fn parse(text: &str) -> Option<Self>;
}

fn take(delta: &mut Delta, operation: &Operation<'_>) -> Result<(), Error> {
    if operation.path == STATUS {
        return match &*operation.op {
            "add" => {
                delta.status = Some(Arc::new(operation.value::<TopologyStatus>()?));
                Ok(())
            }
            _ => Err(operation.unused()),
        };
    }
    if operation.path == CLUSTER {
        return match &*operation.op {
            "add" => {
                // JSON's null, for settings that are not known, reads as no value at all.
                let known = operation.value.is_some();
                delta.cluster =
                    Some(known.then(|| operation.value::<PolicyCluster>()).transpose()?.map(Arc::new));
                Ok(())
            }
            _ => Err(operation.unused()),
        };
    }
    let (map, key) = operation
        .path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .ok_or_else(|| operation.no_such_path())?;
    match map {
        SERVICES => operation.entry::<_, Service>(key)?.into_changes(&mut delta.services),
        WORKLOADS => operation.entry::<_, Workload>(key)?.into_changes(&mut delta.workloads),
        EXTERNALS => operation.entry::<_, External>(key)?.into_changes(&mut delta.externals),
        EDGES => {
            let entry = operation.entry::<_, Edge>(key)?;
            if let Entry::Put(id, edge) = &entry
                && !is_id_of(id, edge)
            {
                return Err(Error::OtherEnds(operation.path.to_string()));
            }
            entry.into_changes(&mut delta.edges);
        }
        AUTH_POLICIES => operation.entry::<_, Policy>(key)?.into_changes(&mut delta.auth_policies),
        POLICIES => operation.entry::<_, Policy>(key)?.into_changes(&mut delta.policies),
        NAMESPACES => operation.entry::<_, Namespace>(key)?.into_changes(&mut delta.namespaces),
        _ => return Err(operation.no_such_path()),
    }
    Ok(())
}

/// Undoes the escapes of a JSON pointer; `None` when one is not of RFC 6901.
fn unescaped(part: &str) -> Option<Cow<'_, str>> {
    let mut parts = part.split('~');
    let first = parts.next().unwrap_or_default();
    if first.len() == part.len() {
        return Some(Cow::Borrowed(part));
    }
    let mut text = String::with_capacity(part.len());
    text.push_str(first);
    for rest in parts {
        text.push(match rest.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        text.push_str(&rest[1..]);
    }
    Some(Cow::Owned(text))
}

// === impl Operation ===

impl<'a> Operation<'a> {
    fn entry<K: Key, V: Deserialize<'a>>(&self, key: &str) -> Result<Entry<K, V>, Error> {
        let key = unescaped(key).and_then(|key| K::parse(&key)).ok_or_else(|| self.no_such_path())?;
        match &*self.op {
            "add" => Ok(Entry::Put(key, Arc::new(self.value()?))),
            "remove" => Ok(Entry::Remove(key)),
            _ => Err(self.unused()),
        }
    }

    fn value<V: Deserialize<'a>>(&self) -> Result<V, Error> {
        let value = self.value.ok_or_else(|| Error::NoValue(self.path.to_string()))?;
        serde_json::from_str(value.get())
            .map_err(|source| Error::Value { path: self.path.to_string(), source })
    }

    fn unused(&self) -> Error {
        Error::Operation { op: self.op.to_string(), path: self.path.to_string() }
    }

    fn no_such_path(&self) -> Error {
        Error::Path(self.path.to_string())
    }
}

// === impl Entry ===

impl<K, V> Entry<K, V> {
    fn into_changes(self, changes: &mut Changes<K, V>) {
        match self {
            Self::Put(key, value) => changes.put.push((key, value)),
            Self::Remove(key) => changes.removed.push(key),
        }
    }
}

// === impl Key ===

impl<T: Form> Key for Id<T> {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Key for Text {
    fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| text.into())
    }
}

// === impl Writer ===

impl Writer {
    fn changes<K: Borrow<str>, V: Serialize>(&mut self, map: &str, changes: &Changes<K, V>) {
        let path = |key: &K| format!("/{map}/{}", key.borrow().replace('~', "~0").replace('/', "~1"));
        for key in &changes.removed {
            self.begin("remove", &path(key));
            self.text.push('}');
        }
        for (key, value) in &changes.put {
            self.add(&path(key), &**value);
        }
    }

    fn add(&mut self, path: &str, value: &impl Serialize) {
        self.begin("add", path);
        self.text.push_str(",\"value\":");
        self.json(value);
        self.text.push('}');
    }

    fn begin(&mut self, op: &str, path: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push_str("{\"op\":\"");
        self.text.push_str(op);
        self.text.push_str("\",\"path\":");
        self.json(path);
    }

    fn json(&mut self, value: &(impl Serialize + ?Sized)) {
        let json = serde_json::to_string(value)
            .expect("types of the graph have string keys and no serializer that fails");
        self.text.push_str(&json);
    }
}
