//! The API server: reading one object, trying a write, making it, and taking it back. Every write says which version of
//! the object it is for, so that none lands on an object that somebody else has changed meanwhile.

use super::target::Target;
use fault::{Verb, of};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use serde_json::{Value, json};
use std::time::Duration;

mod fault;

pub use fault::{Fault, Held};

/// Who we are to server-side apply.
pub(crate) const FIELD_MANAGER: &str = "linkerd-mcp";

/// How long the API server may take for one request, its webhooks included; they have 10 s by themselves at most, and
/// Linkerd's takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(12);

/// A version that no object has and that server-side apply takes for one: with it an object that is there already is a
/// conflict, and one that is not is made.
const NOT_THERE: &str = "1";

/// The API server. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
}

/// The version of an object that a write is for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Version {
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

/// Whether a write is made or only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The API server does all but store it: defaults, webhooks, policies.
    Try,
    Make,
}

// === impl Cluster ===

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The object with its managed fields; none when there is none.
    pub(crate) async fn get(&self, target: &Target) -> Result<Option<Value>, Fault> {
        let request = http::Request::get(target.path()).body(Vec::new());
        match self.send(target, Verb::Get, request).await {
            Ok(object) => Ok(Some(object)),
            Err(Fault::Changed { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Several objects, in the order of `targets`.
    pub(crate) async fn get_all(&self, targets: Vec<Target>) -> Result<Vec<Option<Value>>, Fault> {
        /// Enough for 50 objects in seven round trips, few for a busy API server.
        const AT_ONCE: usize = 8;
        let get = |target: Target| async move { self.get(&target).await };
        stream::iter(targets).map(get).buffered(AT_ONCE).try_collect().await
    }

    /// Server-side apply on the version that is known, or where nothing is. With `force` fields of other managers are
    /// taken over.
    pub(crate) async fn apply(
        &self,
        target: &Target,
        body: &Value,
        known: Option<&Version>,
        force: bool,
        mode: Mode,
    ) -> Result<Value, Fault> {
        let mut body = body.clone();
        let resource_version = known.map_or(NOT_THERE, |version| &version.resource_version);
        body["metadata"]["resourceVersion"] = resource_version.into();
        if let Some(version) = known {
            // An object that was deleted and made anew has another.
            body["metadata"]["uid"] = version.uid.as_str().into();
        }
        let force = if force { "&force=true" } else { "" };
        let uri = format!("{}?{}{force}", target.path(), write_query(mode));
        let request = http::Request::patch(uri)
            .header(http::header::CONTENT_TYPE, "application/apply-patch+yaml")
            .body(body.to_string().into_bytes());
        let verb = if known.is_some() { Verb::Patch } else { Verb::Create };
        self.send(target, verb, request).await
    }

    /// Deletes this version and no other.
    pub(crate) async fn delete(&self, target: &Target, known: &Version, mode: Mode) -> Result<(), Fault> {
        let Version { uid, resource_version } = known;
        let mut options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
        });
        if mode == Mode::Try {
            options["dryRun"] = json!(["All"]);
        }
        // The body counts; the query is for whoever reads the API server's audit log, which may have no bodies.
        let query = if mode == Mode::Try { "?dryRun=All" } else { "" };
        let request = http::Request::delete(format!("{}{query}", target.path()))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(options.to_string().into_bytes());
        self.send(target, Verb::Delete, request).await.map(drop)
    }

    /// Puts spec, labels and annotations of `before` in the place of what this version has.
    pub(crate) async fn put_back(
        &self,
        target: &Target,
        before: &Value,
        known: &Version,
    ) -> Result<Value, Fault> {
        let or_empty = |value: &Value| if value.is_object() { value.clone() } else { json!({}) };
        let metadata = &before["metadata"];
        // An `add` replaces what is there.
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": known.uid},
            {"op": "add", "path": "/metadata/resourceVersion", "value": known.resource_version},
            {"op": "add", "path": "/metadata/labels", "value": or_empty(&metadata["labels"])},
            {"op": "add", "path": "/metadata/annotations", "value": or_empty(&metadata["annotations"])},
            {"op": "add", "path": "/spec", "value": before["spec"]},
        ]);
        let uri = format!("{}?{}", target.path(), write_query(Mode::Make));
        let request = http::Request::patch(uri)
            .header(http::header::CONTENT_TYPE, "application/json-patch+json")
            .body(patch.to_string().into_bytes());
        self.send(target, Verb::Patch, request).await
    }

    /// Makes an object anew that was deleted. It is an object of its own: with another uid and age.
    pub(crate) async fn make_anew(&self, target: &Target, before: &Value) -> Result<Value, Fault> {
        let mut object = before.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata
                .retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        let uri = format!("{}?{}", target.collection(), write_query(Mode::Make));
        let request = http::Request::post(uri)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(object.to_string().into_bytes());
        self.send(target, Verb::Create, request).await
    }

    /// Creates an Event about the object. What comes of it is nobody's concern but the log's.
    pub(crate) async fn event(&self, namespace: &str, event: &Value) -> Result<(), kube::Error> {
        let uri =
            format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events?fieldManager={FIELD_MANAGER}");
        let request = http::Request::post(uri)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(event.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        match tokio::time::timeout(TIMEOUT, self.client.request::<Value>(request)).await {
            Ok(answer) => answer.map(drop),
            Err(late) => Err(kube::Error::Service(late.into())),
        }
    }

    async fn send(
        &self,
        target: &Target,
        verb: Verb,
        request: Result<http::Request<Vec<u8>>, http::Error>,
    ) -> Result<Value, Fault> {
        let request = request.map_err(|error| of(target, verb, kube::Error::HttpError(error)))?;
        match tokio::time::timeout(TIMEOUT, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| of(target, verb, error)),
            Err(_) => Err(Fault::Unreachable {
                object: target.to_string(),
                why: format!("it did not answer in {} s", TIMEOUT.as_secs()),
                sent: verb != Verb::Get,
            }),
        }
    }
}

fn write_query(mode: Mode) -> String {
    let dry = if mode == Mode::Try { "&dryRun=All" } else { "" };
    format!("fieldManager={FIELD_MANAGER}&fieldValidation=Strict{dry}")
}

// === impl Version ===

impl Version {
    /// The version of an object as the API server has it.
    pub(crate) fn of(object: &Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        Self { uid: text("uid"), resource_version: text("resourceVersion") }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}
