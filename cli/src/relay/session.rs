//! The session of a client that began with `initialize`. When the API has lost it, because it was restarted or another
//! replica answers, it is begun anew with the client's own words, and the client does not notice.

use super::{
    exchange::{Connections, Reply, Stream, Trouble, is_stream},
    message,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use tokio::{sync::mpsc, time::sleep};

/// The most subscriptions that are repeated in a new session.
const SUBSCRIPTIONS: usize = 1_000;
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The session, once there is one.
pub(crate) struct Session {
    http: Connections,
    state: Mutex<Option<State>>,
    /// Held by who begins it anew.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct State {
    /// None when the API gave none: then there is nothing to lose.
    id: Option<HeaderValue>,
    version: String,
    /// What the client began with.
    opening: Bytes,
    subscribed: BTreeSet<String>,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(http: Connections) -> Self {
        Self { http, state: Mutex::new(None), renewing: tokio::sync::Mutex::new(()) }
    }

    /// Begins it; gives the line that answers the client.
    pub(crate) async fn open(&self, opening: Bytes, id: &Value) -> Result<String, Trouble> {
        let (state, line) = self.begin(opening, id).await?;
        if let Some(state) = state {
            *self.state.lock() = Some(state);
        }
        Ok(line)
    }

    /// Asks for a session. None with the answer when the API refused.
    async fn begin(&self, opening: Bytes, id: &Value) -> Result<(Option<State>, String), Trouble> {
        let (headers, reply) = self.http.post(message::headers(), opening.clone(), Some(id)).await?;
        let line = match reply {
            Reply::Accepted => return Err(Trouble::Cut),
            Reply::Line(line) => line,
            Reply::Stream(mut stream) => loop {
                let line = stream.next().await?.ok_or(Trouble::Cut)?;
                if message::answers(&line, id) {
                    break line;
                }
            },
        };
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        let version = answer["result"]["protocolVersion"].as_str().map(str::to_owned);
        let session = headers.get(message::SESSION).cloned();
        let state =
            version.map(|version| State { id: session, version, opening, subscribed: BTreeSet::new() });
        Ok((state, line))
    }

    /// The headers of a message in it; those of no session while there is none.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = message::headers();
        if let Some(state) = &*self.state.lock() {
            if let Some(id) = &state.id {
                headers.insert(message::SESSION, id.clone());
            }
            if let Ok(version) = HeaderValue::try_from(&state.version) {
                headers.insert(message::VERSION, version);
            }
        }
        headers
    }

    /// True once there is one.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().is_some()
    }

    /// A subscription to repeat in a new session, or not any more.
    pub(crate) fn subscribed(&self, method: &str, uri: Option<&str>) {
        let (Some(state), Some(uri)) = (&mut *self.state.lock(), uri) else { return };
        match method {
            "resources/subscribe" if state.subscribed.len() < SUBSCRIPTIONS => {
                state.subscribed.insert(uri.to_owned());
            }
            "resources/unsubscribe" => {
                state.subscribed.remove(uri);
            }
            _ => {}
        }
    }

    /// Begins it anew, unless somebody has since `lost` was sent.
    pub(crate) async fn renew(&self, lost: Option<&HeaderValue>) -> Result<(), Trouble> {
        let _one = self.renewing.lock().await;
        let Some(old) = self.state.lock().clone() else { return Err(Trouble::Session) };
        if old.id.as_ref() != lost {
            return Ok(());
        }
        let id: Value =
            serde_json::from_slice::<Value>(&old.opening).map(|it| it["id"].clone()).unwrap_or_default();
        let (state, _) = self.begin(old.opening.clone(), &id).await?;
        let mut state = state.ok_or(Trouble::Session)?;
        if state.version != old.version {
            return Err(Trouble::Replaced(state.version));
        }
        state.subscribed = old.subscribed.clone();
        *self.state.lock() = Some(state);
        tracing::info!("the API had lost the session; it was begun anew");
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        self.http.post(self.headers(), initialized.into(), None).await?;
        for (at, uri) in old.subscribed.iter().enumerate() {
            let (id, params) = (format!("linkerd-mcp-{at}").into(), json!({"uri": uri}));
            let again =
                json!({"jsonrpc": "2.0", "id": id, "method": "resources/subscribe", "params": params});
            self.http.post(self.headers(), again.to_string().into(), Some(&id)).await?;
        }
        Ok(())
    }

    /// Passes on what the server says without being asked, until nobody reads it or the API has nothing of the kind.
    pub(crate) async fn listen(&self, out: &mpsc::Sender<String>) {
        let mut pause = SHORTEST_PAUSE;
        let mut last_id: Option<HeaderValue> = None;
        loop {
            let mut headers = self.headers();
            let Some(session) = headers.get(message::SESSION).cloned() else { return };
            if let Some(id) = &last_id {
                headers.insert("last-event-id", id.clone());
            }
            match self.http.send(Method::GET, headers, Bytes::new()).await {
                Ok(response) if response.status().is_success() && is_stream(response.headers()) => {
                    pause = SHORTEST_PAUSE;
                    let mut stream = Stream::new(response);
                    while let Ok(Some(line)) = stream.next().await {
                        if out.send(line).await.is_err() {
                            return;
                        }
                    }
                    last_id = stream.events.last_id.and_then(|it| HeaderValue::try_from(it).ok());
                }
                Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                    last_id = None;
                    if let Err(error) = self.renew(Some(&session)).await {
                        tracing::debug!(%error, "the session cannot be begun anew yet");
                    }
                }
                Ok(response) if response.status() == StatusCode::METHOD_NOT_ALLOWED => return,
                Ok(response) => {
                    tracing::debug!(status = %response.status(), "there is no stream of notifications")
                }
                Err(error) => tracing::debug!(%error, "the stream of notifications broke"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tells the API that it is over.
    pub(crate) async fn close(&self) {
        let headers = self.headers();
        if headers.contains_key(message::SESSION) {
            // It forgets a session that is not used, too.
            let _ = self.http.send(Method::DELETE, headers, Bytes::new()).await;
        }
    }
}
