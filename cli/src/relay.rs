//! Joins a client that writes MCP on lines to the API that speaks it over HTTP. Both eras of the protocol pass: a
//! request that names its revision stands for itself; others belong to the session that `initialize` began.
//!
//! ```text
//! stdin ─► line ─► message ─┬─► exchange (POST) ─► one document or a stream of events ─┬─► stdout
//!                           └─► session (initialize, GET stream, begun anew when lost) ─┘
//! ```
//!
//! Nothing but JSON lines is written, and whatever a request comes to, it is answered once, or cancelled.

pub(crate) mod event;
pub(crate) mod exchange;
pub(crate) mod line;
pub(crate) mod message;
mod session;

use bytes::Bytes;
use exchange::{Connections, Http, Reply, Trouble};
use http::HeaderMap;
use line::Line;
use message::{BUSY, INVALID, Message, Refusal, UNREACHABLE, error_line};
use parking_lot::Mutex;
use serde_json::Value;
use session::Session;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::AbortHandle, time::timeout};
use tokio_util::task::TaskTracker;

/// The most requests under way: half of what the API answers at a time on one connection.
const REQUESTS: usize = 128;
/// How long requests under way may take when the client has closed its end.
const FINISH: Duration = Duration::from_secs(2);
/// How long notifications and answers of the client may take; they keep the order of lines.
const DELIVERY: Duration = Duration::from_secs(10);

/// The relay. Shared by all requests under way.
struct Relay {
    http: Connections,
    session: Session,
    out: mpsc::Sender<String>,
    /// By the text of the id, which tells 1 from "1".
    under_way: Mutex<HashMap<String, UnderWay>>,
}

/// A request that is not answered yet.
struct UnderWay {
    task: Option<AbortHandle>,
    /// In a session: the server must be told when it is cancelled. Others are cancelled by going away.
    in_session: bool,
    /// It ends only when it is cancelled.
    endless: bool,
}

/// Relays until the input ends or nobody reads the output.
pub(crate) async fn run(http: Http, mut input: mpsc::Receiver<Line>, out: mpsc::Sender<String>) {
    let http = Arc::new(http);
    let session = Session::new(http.clone());
    let relay = Arc::new(Relay { http, session, out, under_way: Mutex::default() });
    let tasks = TaskTracker::new();
    let mut listening: Option<tokio_util::task::AbortOnDropHandle<()>> = None;
    loop {
        let line = tokio::select! {
            line = input.recv() => line,
            () = relay.out.closed() => return,
        };
        let Some(line) = line else { break };
        if let Err(Trouble::Unread) = relay.take(line, &tasks).await {
            return;
        }
        if listening.is_none() && relay.session.is_open() {
            let relay = relay.clone();
            let listen = async move { relay.session.listen(&relay.out).await };
            listening = Some(tokio_util::task::AbortOnDropHandle::new(tokio::spawn(listen)));
        }
    }
    // A script may write its questions and close: they are still answered.
    relay.under_way.lock().values().filter(|it| it.endless).for_each(UnderWay::abort);
    tasks.close();
    let finished = timeout(FINISH, tasks.wait()).await.is_ok();
    if !finished {
        relay.under_way.lock().values().for_each(UnderWay::abort);
    }
    drop(listening);
    let _ = timeout(FINISH, relay.session.close()).await;
}

// === impl UnderWay ===

impl UnderWay {
    fn abort(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

// === impl Relay ===

impl Relay {
    /// Takes one line. Requests go on by themselves; what they must not overtake is waited for.
    async fn take(self: &Arc<Self>, line: Line, tasks: &TaskTracker) -> Result<(), Trouble> {
        let Line::Text(line) = line else {
            let message = format!("the line is longer than {} bytes", line::MAX);
            return self.say(error_line(&Value::Null, INVALID, &message)).await;
        };
        let body = Bytes::from(line);
        match message::read(&body) {
            Err(Refusal(answer)) => self.say(answer).await,
            Ok(Message::Request { id, method, .. }) if method == "initialize" => {
                let answer = match self.session.open(body, &id).await {
                    Ok(answer) => answer,
                    Err(trouble) => error_line(&id, UNREACHABLE, &trouble.to_string()),
                };
                self.say(answer).await
            }
            Ok(Message::Request { id, method, version, name }) => {
                self.start(id, method, version, name, body, tasks).await
            }
            Ok(Message::Notification { cancels, .. }) => {
                match cancels.and_then(|id| self.under_way.lock().remove(&id.to_string())) {
                    Some(cancelled) => {
                        if cancelled.in_session {
                            self.deliver(body).await;
                        }
                        cancelled.abort();
                    }
                    None => self.deliver(body).await,
                }
                Ok(())
            }
            Ok(Message::Answer) => {
                self.deliver(body).await;
                Ok(())
            }
        }
    }

    async fn start(
        self: &Arc<Self>,
        id: Value,
        method: String,
        version: Option<String>,
        name: Option<String>,
        body: Bytes,
        tasks: &TaskTracker,
    ) -> Result<(), Trouble> {
        let key = id.to_string();
        let refused = {
            let mut under_way = self.under_way.lock();
            if under_way.len() >= REQUESTS {
                Some((BUSY, format!("more than {REQUESTS} requests are under way; wait for answers")))
            } else if under_way.contains_key(&key) {
                Some((INVALID, "a request with this id is under way".to_owned()))
            } else {
                let endless = method == "subscriptions/listen";
                under_way
                    .insert(key.clone(), UnderWay { task: None, in_session: version.is_none(), endless });
                None
            }
        };
        if let Some((code, message)) = refused {
            return self.say(error_line(&id, code, &message)).await;
        }
        let relay = self.clone();
        let of = key.clone();
        let task = tasks.spawn(async move {
            let answered = match &version {
                Some(version) => {
                    let headers = message::own_headers(version, &method, name.as_deref());
                    relay.exchange(headers, body, &id).await
                }
                None => relay.exchange_in_session(&method, name.as_deref(), body, &id).await,
            };
            // Taken away by a cancellation, it must not be answered any more.
            let waited_for = relay.under_way.lock().remove(&of).is_some();
            if let Err(trouble) = answered
                && waited_for
            {
                // Nobody to tell is found out by whoever reads the next line.
                let _ = relay.say(error_line(&id, UNREACHABLE, &trouble.to_string())).await;
            }
        });
        if let Some(under_way) = self.under_way.lock().get_mut(&key) {
            under_way.task = Some(task.abort_handle());
        }
        Ok(())
    }

    /// Asks in the session; once more in a new one when it is lost.
    async fn exchange_in_session(
        &self,
        method: &str,
        name: Option<&str>,
        body: Bytes,
        id: &Value,
    ) -> Result<(), Trouble> {
        let headers = self.session.headers();
        let session = headers.get(message::SESSION).cloned();
        let mut answered = self.exchange(headers, body.clone(), id).await;
        if let Err(Trouble::Session) = answered {
            self.session.renew(session.as_ref()).await?;
            answered = self.exchange(self.session.headers(), body, id).await;
        }
        if answered.is_ok() {
            self.session.subscribed(method, name);
        }
        answered
    }

    /// Asks, and passes on everything up to the answer.
    async fn exchange(&self, headers: HeaderMap, body: Bytes, id: &Value) -> Result<(), Trouble> {
        match self.http.post(headers, body, Some(id)).await?.1 {
            Reply::Accepted => Err(Trouble::Cut),
            Reply::Line(line) => self.say(line).await,
            Reply::Stream(mut stream) => loop {
                let line = stream.next().await?.ok_or(Trouble::Cut)?;
                let last = message::answers(&line, id);
                self.say(line).await?;
                if last {
                    return Ok(());
                }
            },
        }
    }

    /// What wants no answer, in the session. Without one there is nobody to tell.
    async fn deliver(&self, body: Bytes) {
        if !self.session.is_open() {
            return;
        }
        let headers = self.session.headers();
        let session = headers.get(message::SESSION).cloned();
        let delivered = async {
            match self.http.post(headers, body.clone(), None).await {
                Err(Trouble::Session) => {
                    self.session.renew(session.as_ref()).await?;
                    self.http.post(self.session.headers(), body, None).await
                }
                delivered => delivered,
            }
        };
        match timeout(DELIVERY, delivered).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a notification could not be delivered"),
            Err(_) => tracing::warn!("a notification could not be delivered in time"),
        }
    }

    async fn say(&self, line: String) -> Result<(), Trouble> {
        self.out.send(line).await.map_err(|_| Trouble::Unread)
    }
}
