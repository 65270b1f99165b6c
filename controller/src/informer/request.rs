//! What is asked of the API server, and how its answers are read: in place, without building a tree of the objects.

use super::send::{self, body};
use crate::{
    graph::{id::Text, kind::KindRow},
    kube_error::Failure,
    watch::Parts,
};
use futures::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::{
    api::{GetParams, ListParams, WatchParams},
    core::{Status, request::Request},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{io, pin::Pin};

/// How long the server keeps a watch open, in seconds. kube refuses more than 294.
const WATCH_SECONDS: u32 = 290;

/// Largest watch event that is read: one object, with room to spare.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// Where a kind is served.
#[derive(Debug)]
pub(super) struct Resource(Request);

/// One page of a list. `items` are the objects' texts as they stand in the answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<'a> {
    metadata: PageMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: Option<String>,
    r#continue: Option<String>,
}

/// One line of a watch.
#[derive(Debug, PartialEq)]
pub(crate) enum WatchLine<'a> {
    /// An object, as text, was added or changed.
    Applied(&'a str, Head),
    /// An object was deleted.
    Deleted(Head),
    /// Nothing happened up to this version.
    Bookmark(Head),
}

/// Which object, and the version that its event leads to. A bookmark has no name.
#[derive(Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) namespace: Text,
    pub(crate) name: Text,
    pub(crate) version: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
struct Named {
    metadata: NamedMetadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedMetadata {
    name: Option<Text>,
    namespace: Option<Text>,
    resource_version: Option<String>,
}

// === impl Resource ===

impl Resource {
    /// The kind's place in the API; `namespace` limits it to one.
    pub(super) fn new(row: &KindRow, version: &str, namespace: Option<&str>) -> Self {
        let group = if row.group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{}/{version}", row.group)
        };
        let within = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        Self(Request::new(format!("{group}{within}/{}", row.plural)))
    }

    /// Asks for a page of the list, the first or the one that `next` names. The list is read from etcd rather than
    /// from a server's cache: with a cache, a relist after a failover could go back in time.
    pub(super) fn list(
        &self,
        parts: Parts,
        page_size: u32,
        next: Option<String>,
    ) -> Result<http::Request<Vec<u8>>, Failure> {
        let page = ListParams { limit: Some(page_size), continue_token: next, ..ListParams::default() };
        built(match parts {
            Parts::Metadata => self.0.list_metadata(&page),
            Parts::Whole => self.0.list(&page),
        })
    }

    /// Asks for all changes since `version`, and for bookmarks, so that a quiet kind's version does not expire.
    pub(super) fn watch(&self, parts: Parts, version: &str) -> Result<http::Request<Vec<u8>>, Failure> {
        let params = WatchParams { timeout: Some(WATCH_SECONDS), bookmarks: true, ..WatchParams::default() };
        built(match parts {
            Parts::Metadata => self.0.watch_metadata(&params, version),
            Parts::Whole => self.0.watch(&params, version),
        })
    }

    /// Asks for one object.
    pub(super) fn get(&self, name: &str) -> Result<http::Request<Vec<u8>>, Failure> {
        built(self.0.get(name, &GetParams::default()))
    }
}

fn built(
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<http::Request<Vec<u8>>, Failure> {
    request.map_err(|error| Failure::caused_by(send::NOT_MADE, &error))
}

/// The newest version of the kind that the cluster serves and we know. Asks for the group first: a server answers
/// for an unknown group with something that is no Status, and kube would warn of that at every probe.
pub(super) async fn served_version(
    client: &kube::Client,
    row: &KindRow,
) -> Result<Option<&'static str>, Failure> {
    let groups = discover::<APIGroupList>(client, "/apis").await?.groups;
    let Some(group) = groups.into_iter().find(|group| group.name == row.group) else {
        return Ok(None);
    };
    for version in row.versions {
        if !group.versions.iter().any(|served| served.version == *version) {
            continue;
        }
        match discover::<APIResourceList>(client, &format!("/apis/{}/{version}", row.group)).await {
            Ok(list) if list.resources.iter().any(|resource| resource.name == row.plural) => {
                return Ok(Some(version));
            }
            Ok(_) | Err(Failure::NotFound(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

/// What the API server serves, asked for like everything else, so that a refusal is sorted the same way.
async fn discover<T: DeserializeOwned>(client: &kube::Client, path: &str) -> Result<T, Failure> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(|error| Failure::caused_by(send::NOT_MADE, &error))?;
    let body = body(client, request).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Failure::caused_by("the answer is not a list of what the API server serves", &error))
}

/// Reads a page.
pub(crate) fn page(body: &[u8]) -> Result<Page<'_>, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::caused_by("the answer is not a Kubernetes list", &error))
}

/// Reads the next line of a watch into `line`, without its end; false when the watch has ended. What comes after the
/// last line's end is half an event and is dropped.
pub(super) async fn line(events: &mut Pin<&mut impl AsyncBufRead>, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let chunk = events.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&chunk[..end.unwrap_or(chunk.len())]);
        let used = end.map_or(chunk.len(), |end| end + 1);
        events.consume_unpin(used);
        if line.len() > MAX_LINE {
            return Err(io::Error::other(format!("a watch event is larger than {MAX_LINE} bytes")));
        }
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Reads a line of a watch.
pub(crate) fn event(line: &[u8]) -> Result<WatchLine<'_>, Failure> {
    let unreadable =
        |error| Failure::caused_by("the API server sent something that is no watch event", &error);
    let event: Event<'_> = serde_json::from_slice(line).map_err(unreadable)?;
    let json = event.object.get();
    if event.r#type == "ERROR" {
        let status: Status = serde_json::from_str(json).map_err(unreadable)?;
        return Err(Failure::from_status(&status));
    }
    let Named { metadata } = serde_json::from_str(json).map_err(unreadable)?;
    let version = metadata
        .resource_version
        .filter(|version| !version.is_empty())
        .ok_or_else(|| Failure::unavailable("the API server sent a watch event without a resourceVersion"))?;
    let head = Head {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        version,
    };
    match event.r#type {
        "ADDED" | "MODIFIED" => Ok(WatchLine::Applied(json, head)),
        "DELETED" => Ok(WatchLine::Deleted(head)),
        "BOOKMARK" => Ok(WatchLine::Bookmark(head)),
        other => {
            Err(Failure::unavailable(format!("the API server sent a watch event of unknown type {other}")))
        }
    }
}

/// `namespace/name` of an object that could not be read otherwise, as far as they can be found.
pub(super) fn name_of(json: &str) -> String {
    let Named { metadata } = serde_json::from_str(json).unwrap_or_default();
    let part = |text: Option<Text>| text.unwrap_or_else(|| "?".into());
    match metadata.namespace {
        Some(namespace) => format!("{namespace}/{}", part(metadata.name)),
        None => part(metadata.name).to_string(),
    }
}

// === impl Page ===

impl Page<'_> {
    /// The objects' texts.
    pub(crate) fn items(&self) -> impl Iterator<Item = &str> {
        self.items.iter().flatten().map(|item| item.get())
    }

    /// What to ask the next page with, when there is one.
    pub(crate) fn next(&self) -> Option<String> {
        self.metadata.r#continue.clone().filter(|token| !token.is_empty())
    }

    /// The version to watch from.
    pub(crate) fn resource_version(&self) -> Result<String, Failure> {
        self.metadata
            .resource_version
            .clone()
            .filter(|version| !version.is_empty())
            .ok_or_else(|| Failure::unavailable("the API server sent a list without a resourceVersion"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::kind::Kind;

    fn mk_head(name: &str, version: &str) -> Head {
        Head { namespace: "".into(), name: name.into(), version: version.into() }
    }

    #[test]
    fn a_kind_is_found_under_its_group_and_namespace() {
        let path = |kind: Kind, version, namespace| Resource::new(kind.row(), version, namespace).0.url_path;
        assert_eq!(path(Kind::Pod, "v1", None), "/api/v1/pods");
        assert_eq!(path(Kind::Pod, "v1", Some("shop")), "/api/v1/namespaces/shop/pods");
        assert_eq!(path(Kind::Server, "v1beta2", None), "/apis/policy.linkerd.io/v1beta2/servers");
    }

    #[test]
    fn events_are_read_in_place() {
        let line = br#"{"type":"MODIFIED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}"#;
        assert_eq!(
            event(line),
            Ok(WatchLine::Applied(r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#, mk_head("a", "7")))
        );
        let line = br#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9"}}}"#;
        assert_eq!(event(line), Ok(WatchLine::Bookmark(mk_head("", "9"))));
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
        assert_eq!(event(line), Err(Failure::Expired));
    }

    #[test]
    fn an_event_without_a_version_is_a_failure() {
        let line = br#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#;
        assert!(matches!(event(line), Err(Failure::Unavailable { .. })));
        assert!(matches!(event(b"<html>"), Err(Failure::Unavailable { .. })));
    }

    #[tokio::test]
    async fn lines_are_found_across_reads_and_half_a_line_at_the_end_is_dropped() {
        let source = futures::io::BufReader::with_capacity(3, futures::io::Cursor::new(b"one\ntwo two\nhal"));
        let mut events = std::pin::pin!(source);
        let mut buffer = Vec::new();
        let mut lines = Vec::new();
        while line(&mut events, &mut buffer).await.expect("reading memory works") {
            lines.push(String::from_utf8(buffer.clone()).expect("text"));
        }
        assert_eq!(lines, ["one", "two two"]);
    }

    #[test]
    fn a_page_gives_its_objects_and_the_way_on() {
        let body = br#"{"kind":"PodList","metadata":{"resourceVersion":"5","continue":"abc"},
            "items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#;
        let page = page(body).expect("a page");
        assert_eq!(
            page.items().collect::<Vec<_>>(),
            [r#"{"metadata":{"name":"a"}}"#, r#"{"metadata":{"name":"b"}}"#]
        );
        assert_eq!(page.next().as_deref(), Some("abc"));
        assert_eq!(page.resource_version().as_deref(), Ok("5"));
    }
}
