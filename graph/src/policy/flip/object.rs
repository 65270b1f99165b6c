//! Objects that flips put: new ones, edited ones, and how they look as manifests.

use crate::{
    fact::{Key, Labels, PolicyObject},
    id::{PolicyId, Text},
    kind::Kind,
    policy::{cluster::PolicyCluster, objects::Objects, verdict::Client},
};
use serde_json::{Map, Value, json};
use std::{net::IpAddr, sync::Arc};

/// The longest name that is made up; Kubernetes would take 253.
const MAX_NAME: usize = 63;

/// How a client can be named in a policy so that nobody else is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// By the ServiceAccount its identity stands for.
    Account(Key),
    /// By an identity of another trust domain, or a SPIFFE one.
    Identity(Text),
    /// By its addresses; not empty.
    Addresses(Vec<IpAddr>),
}

/// An object as kubectl applies it: no status, nothing that the API server sets.
pub fn manifest(object: &PolicyObject) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(object.key.name));
    metadata.insert("namespace".to_owned(), json!(object.key.namespace));
    if !object.labels.is_empty() {
        metadata.insert("labels".to_owned(), json!(object.labels));
    }
    json!({
        "apiVersion": object.api_version,
        "kind": object.kind.row().name,
        "metadata": metadata,
        "spec": object.spec,
    })
}

/// An object that is yet to be created.
pub(crate) fn new(kind: Kind, namespace: &str, name: Text, spec: Value) -> PolicyObject {
    let row = kind.row();
    let version = row.versions.first().copied().unwrap_or("v1");
    PolicyObject {
        kind,
        key: Key { namespace: namespace.into(), name },
        api_version: format!("{}/{version}", row.group).into(),
        labels: Labels::default(),
        created_ms: None,
        spec: Arc::new(spec),
        status: Arc::default(),
    }
}

/// The same object with another spec.
pub(super) fn edited(object: &PolicyObject, spec: Value) -> PolicyObject {
    PolicyObject { spec: Arc::new(spec), ..object.clone() }
}

/// A copy of the spec with something more in the list `field`, which is made where there is none.
pub(super) fn with_item(spec: &Value, field: &str, item: Value) -> Option<Value> {
    let mut spec = spec.clone();
    let list = spec.as_object_mut()?.entry(field).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut()?.push(item);
    Some(spec)
}

/// A copy of the spec with this value at `field`.
pub(super) fn with_field(spec: &Value, field: &str, value: Value) -> Option<Value> {
    let mut spec = spec.clone();
    spec.as_object_mut()?.insert(field.to_owned(), value);
    Some(spec)
}

/// The items of a list in a spec; none where there is no list.
pub(super) fn items<'a>(spec: &'a Value, field: &str) -> &'a [Value] {
    spec.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A name made of `words` that no object of the kind bears.
pub(crate) fn free_name(objects: &Objects, kind: Kind, namespace: &str, words: &[&str]) -> Text {
    let mut name: String = words.join("-").to_ascii_lowercase();
    name = name
        .chars()
        .map(|it| if it.is_ascii_lowercase() || it.is_ascii_digit() { it } else { '-' })
        .collect();
    let name: String = name.trim_matches('-').chars().take(MAX_NAME).collect();
    let name = match name.trim_matches('-') {
        "" => "client",
        name => name,
    };
    let free = |name: &Text| {
        objects.policy(kind, &Key { namespace: namespace.into(), name: name.clone() }).is_none()
    };
    let numbered = (2_u32..).map(|number| Text::from(format!("{name}-{number}")));
    std::iter::once(Text::from(name)).chain(numbered).find(free).unwrap_or_else(|| name.into())
}

/// The id of an object.
pub(super) fn id_of(object: &PolicyObject) -> PolicyId {
    PolicyId::new(object.kind.policy_prefix(), &object.key.namespace, &object.key.name)
}

/// A reference to an object of a policy group.
pub(crate) fn reference(object: &PolicyObject) -> Value {
    let row = object.kind.row();
    json!({"group": row.group, "kind": row.name, "name": object.key.name})
}

// === impl Who ===

impl Who {
    /// `None` for clients of which nothing is known that could be written into a policy.
    pub(super) fn of(client: &Client, addresses: &[IpAddr], cluster: &PolicyCluster) -> Option<Self> {
        let Some(identity) = &client.identity else {
            let addresses = match addresses {
                [] => client.address.into_iter().collect(),
                addresses => addresses.to_vec(),
            };
            let some = !addresses.is_empty() && addresses.len() <= super::MAX_ADDRESSES;
            return some.then_some(Self::Addresses(addresses));
        };
        let account = crate::id::service_account(identity);
        let own = account.filter(|(namespace, name)| cluster.identity(namespace, name) == *identity);
        Some(match own {
            Some((namespace, name)) => Self::Account(Key::new(namespace, name)),
            None => Self::Identity(identity.clone()),
        })
    }

    /// A word for it in the names of objects.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Account(key) => key.name.to_string(),
            Self::Identity(identity) => {
                let plain = identity.strip_prefix("spiffe://").unwrap_or(identity);
                let word = if plain.len() == identity.len() {
                    plain.split('.').next()
                } else {
                    plain.rsplit('/').next()
                };
                word.unwrap_or_default().to_owned()
            }
            Self::Addresses(addresses) => addresses.first().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// The network of an address alone.
pub(super) fn network(address: IpAddr) -> String {
    ipnet::IpNet::from(address).to_string()
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Account(key) => write!(f, "ServiceAccount {key}"),
            Self::Identity(identity) => write!(f, "`{identity}`"),
            Self::Addresses(addresses) => {
                let plural = if addresses.len() > 1 { "es" } else { "" };
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                write!(f, "the address{plural} {}", addresses.join(", "))
            }
        }
    }
}
