//! An HTTP proxy that can be told to misbehave, to put before an API server or a Prometheus.
//!
//! It speaks plain HTTP to its clients and knows whole requests and open watches, where [`crate::proxy`] knows only
//! bytes. [`HttpProxy::inject`] changes how requests are answered, [`HttpProxy::interrupt`] what happens to watches
//! that are open already.

mod fault;
mod forward;

pub use fault::{Fault, Interrupt, Requests};

use crate::background::Background;
use bytes::Bytes;
use forward::{Entry, Upstream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    time::Instant,
};

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct HttpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: Background,
}

/// A fault that lasts as long as this value.
#[derive(Debug)]
pub struct Injected {
    id: u64,
    count: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

/// Why a proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No port or no thread.
    #[error("the proxy could not be started")]
    Start(#[from] io::Error),
    /// The authority of whom it stands before is no certificate, or there is no TLS.
    #[error("no client for whom the proxy stands before")]
    Upstream(#[from] reqwest::Error),
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Written by the test, read by every request.
#[derive(Debug)]
struct Shared {
    upstream: Mutex<Upstream>,
    rules: Mutex<Vec<Rule>>,
    /// Counts changes of the rules, for requests that are held.
    changed: watch::Sender<u64>,
    /// Every request so far: when, and its path and query.
    asked: Mutex<Vec<(Instant, String)>>,
    watches: Mutex<BTreeMap<u64, OpenWatch>>,
    ids: AtomicU64,
}

#[derive(Debug, Clone)]
struct Rule {
    id: u64,
    requests: Requests,
    fault: Fault,
    count: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct OpenWatch {
    path: String,
    interrupts: mpsc::UnboundedSender<Interrupt>,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the proxy hangs up")]
struct HungUp;

// === impl HttpProxy ===

impl HttpProxy {
    /// Starts a proxy that hands everything on to `url`, whose certificate is signed by `ca` (PEM) where it has one.
    ///
    /// # Errors
    ///
    /// When there is no port, or `ca` is no certificate.
    pub fn start(url: &str, ca: Option<&str>) -> Result<Self, Error> {
        let upstream = Upstream::new(url, ca)?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            rules: Mutex::default(),
            changed: watch::Sender::new(0),
            asked: Mutex::default(),
            watches: Mutex::default(),
            ids: AtomicU64::new(0),
        });
        let served = shared.clone();
        let server = Background::spawn("http proxy", move || accept(listener, served))?;
        Ok(Self { address, shared, _server: server })
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Hands requests on to somebody else from now on; those under way stay where they are.
    ///
    /// # Errors
    ///
    /// When `ca` is no certificate.
    pub fn retarget(&self, url: &str, ca: Option<&str>) -> Result<(), Error> {
        *self.shared.upstream.lock() = Upstream::new(url, ca)?;
        Ok(())
    }

    /// Answers these requests by the fault until the returned value is dropped; the oldest fault that fits counts.
    #[must_use = "the fault is over when this is dropped"]
    pub fn inject(&self, requests: Requests, fault: Fault) -> Injected {
        let id = self.shared.next_id();
        let count = Arc::<AtomicUsize>::default();
        self.shared.rules.lock().push(Rule { id, requests, fault, count: count.clone() });
        Injected { id, count, shared: self.shared.clone() }
    }

    /// Does this to all open watches among these requests, and says how many those are.
    pub fn interrupt(&self, requests: &Requests, interrupt: &Interrupt) -> usize {
        let watches = self.shared.watches.lock();
        let wanted = watches.values().filter(|watch| requests.include(&watch.path));
        wanted.filter(|watch| watch.interrupts.send(interrupt.clone()).is_ok()).count()
    }

    /// When each of these requests came in.
    pub fn asked(&self, requests: &Requests) -> Vec<Instant> {
        let asked = self.shared.asked.lock();
        asked.iter().filter(|(_, path)| requests.include(path)).map(|(at, _)| *at).collect()
    }
}

// === impl Injected ===

impl Injected {
    /// How many requests it was for so far.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        self.shared.rules.lock().retain(|rule| rule.id != self.id);
        self.shared.changed.send_modify(|changes| *changes += 1);
    }
}

// === impl Shared ===

impl Shared {
    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// What to do with a request, once nothing holds it any more.
    async fn fault(&self, path: &str) -> Option<Fault> {
        let mut changed = self.changed.subscribe();
        let mut counted = None;
        loop {
            changed.mark_unchanged();
            let rule = self.rules.lock().iter().find(|rule| rule.requests.include(path)).cloned();
            let rule = rule?;
            if counted != Some(rule.id) {
                counted = Some(rule.id);
                rule.count.fetch_add(1, Ordering::Relaxed);
            }
            if !matches!(rule.fault, Fault::Hold) {
                return Some(rule.fault);
            }
            changed.changed().await.ok()?;
        }
    }

    /// Lists an open watch for as long as the entry lives.
    fn open_watch(self: &Arc<Self>, path: &str) -> (Entry, mpsc::UnboundedReceiver<Interrupt>) {
        let (interrupts, interrupts_rx) = mpsc::unbounded_channel();
        let id = self.next_id();
        self.watches.lock().insert(id, OpenWatch { path: path.to_owned(), interrupts });
        (Entry::new(self.clone(), id), interrupts_rx)
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("the listener does not block");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(shared.clone(), request));
            // Hanging up is an error here, and meant.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, HungUp> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    shared.asked.lock().push((Instant::now(), path.clone()));
    match shared.fault(&path).await {
        None | Some(Fault::Hold) => forward::hand_on(&shared, request, &path).await,
        Some(Fault::Rewrite(rewrite)) => forward::rewritten(&shared, request, &path, rewrite).await,
        Some(Fault::HangUp) => Err(HungUp),
        Some(Fault::Answer { status, headers, body }) => Ok(forward::own(status, &headers, body)),
        Some(Fault::Endless(piece)) => Ok(forward::endless(piece)),
    }
}

#[cfg(test)]
mod tests;
