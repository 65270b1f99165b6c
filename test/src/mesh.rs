//! Puts objects written as YAML into an API server, as they would look on a cluster where controllers ran.
//!
//! `test/fixtures/mesh` holds the objects that belong to the recorded proxies. Two things in such files are not taken
//! literally: the uid of an owner is filled in from the owner, which comes earlier, and `status` is written to the
//! status subresource.

use std::collections::HashMap;
use std::path::PathBuf;

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::{Api, Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::fixtures::{self, yaml_files};

/// The objects could not be read or applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing.
    #[error("could not read {path}")]
    Read {
        /// Which file or folder.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// A document is not a Kubernetes object.
    #[error("not a Kubernetes object in YAML")]
    Yaml(#[from] serde_yaml::Error),
    /// The API server does not know the kind.
    #[error("the API server does not serve {kind}")]
    Kind {
        /// The kind that is not served.
        kind: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server refused an object.
    #[error("the API server refused {name}")]
    Refused {
        /// Kind and name of the object.
        name: String,
        /// Its answer.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Who the API server believes to have made the objects.
const FIELD_MANAGER: &str = "linkerd-mcp-test";

/// Applies all YAML files of `test/fixtures/mesh` in the order of their names.
pub async fn apply_recorded(client: &Client) -> Result<Vec<DynamicObject>, Error> {
    let dir = fixtures::dir().join("mesh");
    let mut applier = Applier::new(client);
    for file in yaml_files(&dir).map_err(|source| Error::Read { path: dir.clone(), source })? {
        let text = std::fs::read_to_string(&file).map_err(|source| Error::Read { path: file, source })?;
        applier.apply(&text).await?;
    }
    Ok(applier.applied)
}

/// Applies the documents of a YAML text.
pub async fn apply(client: &Client, yaml: &str) -> Result<Vec<DynamicObject>, Error> {
    let mut applier = Applier::new(client);
    applier.apply(yaml).await?;
    Ok(applier.applied)
}

/// Splits a YAML text into its objects.
pub fn documents(yaml: &str) -> Result<Vec<DynamicObject>, Error> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let value = serde_yaml::Value::deserialize(document)?;
        // A file may start with a comment and a separator.
        if !value.is_null() {
            objects.push(serde_yaml::from_value(value)?);
        }
    }
    Ok(objects)
}

/// Applies one object after the other and remembers what it has seen.
struct Applier<'a> {
    client: &'a Client,
    kinds: HashMap<GroupVersionKind, (ApiResource, Scope)>,
    applied: Vec<DynamicObject>,
}

// === impl Applier ===

impl<'a> Applier<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, kinds: HashMap::new(), applied: Vec::new() }
    }

    async fn apply(&mut self, yaml: &str) -> Result<(), Error> {
        for mut object in documents(yaml)? {
            self.adopt(&mut object);
            let status = object.data.as_object_mut().and_then(|data| data.remove("status"));
            let api = self.api(&object).await?;
            let name = describe(&object);
            let refused = |source| Error::Refused { name, source: Box::new(source) };
            let applied = put(&api, &object, status).await.map_err(refused)?;
            self.applied.push(applied);
        }
        Ok(())
    }

    /// Gives owner references the uid of the owner applied before.
    fn adopt(&self, object: &mut DynamicObject) {
        let namespace = object.namespace();
        for owner in object.metadata.owner_references.iter_mut().flatten() {
            let is_owner = |other: &&DynamicObject| {
                let kind = other.types.as_ref().map(|types| types.kind.as_str());
                kind == Some(&owner.kind) && other.name_any() == owner.name && other.namespace() == namespace
            };
            if let Some(uid) = self.applied.iter().find(is_owner).and_then(|other| other.uid()) {
                owner.uid = uid;
            }
        }
    }

    async fn api(&mut self, object: &DynamicObject) -> Result<Api<DynamicObject>, Error> {
        let types = object.types.clone().unwrap_or_default();
        let unknown = |source| Error::Kind { kind: format!("{}/{}", types.api_version, types.kind), source };
        let kind = GroupVersionKind::try_from(&types).map_err(|error| unknown(Box::new(error)))?;
        if !self.kinds.contains_key(&kind) {
            let found = pinned_kind(self.client, &kind).await.map_err(|error| unknown(Box::new(error)))?;
            self.kinds.insert(kind.clone(), (found.0, found.1.scope));
        }
        let (resource, scope) = &self.kinds[&kind];
        let client = self.client.clone();
        Ok(match (scope, object.namespace()) {
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client, &namespace, resource),
            (Scope::Namespaced, None) => Api::default_namespaced_with(client, resource),
            (Scope::Cluster, _) => Api::all_with(client, resource),
        })
    }
}

async fn put(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    status: Option<Value>,
) -> Result<DynamicObject, kube::Error> {
    let name = object.name_any();
    let applied = api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await?;
    match status {
        None => Ok(applied),
        Some(status) => {
            let status = json!({ "status": status });
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await
        }
    }
}

fn describe(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    match object.namespace() {
        Some(namespace) => format!("{kind} {namespace}/{}", object.name_any()),
        None => format!("{kind} {}", object.name_any()),
    }
}
