//! What can go wrong, and for which requests.

use bytes::Bytes;
use serde_json::json;

/// Some of the requests to an API server or a Prometheus.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// The last part of the path; none for any.
    last: Option<&'static str>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Any,
    List,
    NextPage,
    Watch,
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Fault {
    /// With this, by the proxy itself.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Headers.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: Bytes,
    },
    /// Not at all: the connection is closed.
    HangUp,
    /// Not before the fault is over; then as if nothing had been.
    Hold,
    /// With the answer's text as this function makes it.
    Rewrite(fn(&str) -> String),
    /// With status 200 and this piece again and again, for as long as the client reads.
    Endless(Bytes),
}

/// What happens to a watch that is open.
#[derive(Clone, Debug)]
pub enum Interrupt {
    /// It ends as the server ends it.
    End,
    /// Its connection breaks.
    Cut,
    /// Nothing more comes through, but the connection stays: a host that is gone, or a middlebox that forgot it.
    Stall,
    /// This line comes in beside what the server says, also in a stall.
    Say(String),
}

// === impl Requests ===

impl Requests {
    /// Every request.
    pub fn all() -> Self {
        Self::default()
    }

    /// All whose path ends in `last`: lists and watches of a resource such as `services`, an API of Prometheus such
    /// as `query`.
    pub fn of(last: &'static str) -> Self {
        Self { last: Some(last), kind: Kind::Any }
    }

    /// Lists of a resource, all of their pages.
    pub fn lists(last: &'static str) -> Self {
        Self { last: Some(last), kind: Kind::List }
    }

    /// The second and later pages of lists of a resource.
    pub fn next_pages(last: &'static str) -> Self {
        Self { last: Some(last), kind: Kind::NextPage }
    }

    /// Watches of a resource.
    pub fn watches(last: &'static str) -> Self {
        Self { last: Some(last), kind: Kind::Watch }
    }

    /// Watches of whatever.
    pub fn all_watches() -> Self {
        Self { last: None, kind: Kind::Watch }
    }

    pub(super) fn include(&self, path_and_query: &str) -> bool {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let has = |wanted: &str| query.split('&').any(|pair| pair.split('=').next() == Some(wanted));
        let named = self.last.is_none_or(|last| path.rsplit('/').next() == Some(last));
        named
            && match self.kind {
                Kind::Any => true,
                Kind::List => !has("watch"),
                Kind::NextPage => has("continue"),
                Kind::Watch => has("watch"),
            }
    }
}

// === impl Fault ===

impl Fault {
    /// A refusal as the API server writes it.
    pub fn refuse(status: u16, reason: &str, message: &str) -> Self {
        Self::Answer {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            body: said(status, reason, message).into(),
        }
    }

    /// A refusal by the API server's own throttle, which stands before what writes a Status.
    pub fn throttle(seconds: u32) -> Self {
        Self::Answer {
            status: 429,
            headers: vec![("retry-after", seconds.to_string()), ("content-type", "text/plain".to_owned())],
            body: "Too many requests, please try again later.\n".into(),
        }
    }

    /// An answer with status 200 and this body.
    pub fn body(kind: &str, body: impl Into<Bytes>) -> Self {
        Self::Answer { status: 200, headers: vec![("content-type", kind.to_owned())], body: body.into() }
    }
}

// === impl Interrupt ===

impl Interrupt {
    /// The event by which an API server says that the watch's version is too old.
    pub fn expired() -> Self {
        let status = said(410, "Expired", "too old resource version: 1 (2)");
        Self::Say(format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n"))
    }
}

fn said(status: u16, reason: &str, message: &str) -> String {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": status
    })
    .to_string()
}
