//! What the API reads from callers over gRPC: first of all the position that a watch resumes from.

use crate::{mesh, seed, split};
use bytes::Bytes;
use linkerd_mcp_api::{
    fuzz::{Answered, Service},
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
};
use linkerd_mcp_graph::{
    delta,
    feed::{Event, Position, Snapshot, Subscription},
    model::Namespace,
};
use linkerd_mcp_proto::v1::{self, watch_mesh_graph_response::Event as Sent};
use prometheus_client::registry::Registry;
use prost::Message as _;
use std::{cell::RefCell, collections::VecDeque, convert::Infallible, sync::Arc};
use tokio::runtime::Runtime;

/// Changes that the replica has seen after its snapshot, and how many of them it keeps.
const CHANGES: u64 = 12;
const KEPT: usize = 8;

/// Methods besides the watch.
const METHODS: [&str; 8] = [
    "GetMeshGraph",
    "GetCallGraph",
    "CheckAccess",
    "ListAccess",
    "ExplainDenials",
    "LintPolicies",
    "CompareEndpoints",
    "ResolvePolicy",
];

struct Fixture {
    runtime: Runtime,
    service: Service,
}

thread_local! {
    static FIXTURE: RefCell<Fixture> = RefCell::new(Fixture::new());
}

/// Form `w`: the message of a watch. `b`: the bytes of a request for a watch, prefix and all. A digit: the message of
/// another method.
pub fn run(input: &[u8]) {
    let (form, rest) = split(input);
    FIXTURE.with_borrow_mut(|fixture| match form {
        b'w' => watch(fixture, rest),
        b'0'..=b'7' => drop(fixture.call(METHODS[usize::from(form - b'0')], framed(rest))),
        _ => drop(fixture.call("WatchMeshGraph", Bytes::copy_from_slice(rest))),
    });
}

/// A watch resumes exactly where it was, or is told that it cannot and gets a snapshot.
fn watch(fixture: &mut Fixture, message: &[u8]) {
    let request = v1::WatchMeshGraphRequest::decode(message).ok();
    let answered = fixture.call("WatchMeshGraph", framed(message));
    let Some(request) = request else {
        return assert!(answered.messages.is_empty(), "what is no request is not answered");
    };
    let Some(first) = first(&answered.messages) else {
        return assert!(!request.namespace.is_empty(), "only an unknown namespace is refused");
    };
    let newest = mesh::AT.seq + CHANGES;
    let oldest = newest - KEPT as u64;
    let epoch = mesh::AT.epoch;
    let known = |at: &v1::Position| at.epoch == epoch && (oldest..=newest).contains(&at.seq);
    match (request.resume_from, first) {
        (None, Sent::Snapshot(_)) => {}
        (Some(at), Sent::Delta(delta)) if known(&at) => {
            let position = delta.position.expect("a change has a position");
            // A watch of one namespace does not hear of the others' changes.
            let next = position.seq == at.seq + 1 || !request.namespace.is_empty();
            assert!(position.epoch == epoch && next, "{position:?} follows {at:?}");
        }
        (Some(at), Sent::Metrics(_)) if known(&at) => {
            assert!(at.seq == newest || !request.namespace.is_empty(), "changes come before numbers");
        }
        (Some(at), Sent::Bookmark(_)) if known(&at) => assert_eq!(at.seq, newest),
        (Some(at), Sent::Resync(_)) if !known(&at) => {}
        (at, other) => panic!("a watch from {at:?} begins with {other:?}"),
    }
}

/// One message with the prefix that gRPC puts before it.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], message].concat().into()
}

fn first(messages: &Bytes) -> Option<Sent> {
    let length = u32::from_be_bytes(messages.get(1..5)?.try_into().ok()?);
    let message = messages.get(5..)?.get(..usize::try_from(length).ok()?)?;
    v1::WatchMeshGraphResponse::decode(message).expect("what is sent is a message").event
}

/// A feed that gives these events and then no more.
struct Script(VecDeque<Event>);

impl Subscription for Script {
    type Error = Infallible;

    async fn next(&mut self) -> Result<Event, Infallible> {
        match self.0.pop_front() {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Infallible> {
        unreachable!("the feed has no gaps")
    }
}

impl Fixture {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime can be made");
        let metrics = ApiMetrics::register(&mut Registry::default());
        let limits = RingLimits { events: KEPT, ..RingLimits::default() };
        let replica = Replica::new(limits, metrics.clone());
        let mut graph = mesh::graph().clone();
        let mut events = VecDeque::from([Event::Snapshot(Snapshot {
            position: mesh::AT,
            as_of_ms: mesh::AS_OF_MS,
            graph: Arc::new(graph.clone()),
            metrics: Arc::new(mesh::metrics().clone()),
        })]);
        for nth in 1..=CHANGES {
            let mut next = graph.clone();
            next.namespaces.insert(format!("new-{nth}").into(), Arc::new(Namespace::default()));
            let delta = Arc::new(delta::diff(&graph, &next));
            let position = Position { seq: mesh::AT.seq + nth, ..mesh::AT };
            events.push_back(Event::Delta { position, as_of_ms: mesh::AS_OF_MS, delta });
            graph = next;
        }
        let following = replica.clone();
        runtime.spawn(async move { following.follow(Script(events)).await });
        let seen = replica.clone();
        runtime.block_on(async move {
            let mut ticks = seen.ticks();
            let last = |tick: &linkerd_mcp_api::replica::Tick| tick.revision > CHANGES;
            ticks.wait_for(last).await.expect("the replica lives as long as its handle");
        });
        Self { service: Service::new(replica, metrics), runtime }
    }

    fn call(&mut self, method: &str, body: Bytes) -> Answered {
        self.runtime.block_on(self.service.call(method, body, 2))
    }
}

/// Positions in, before and after what is kept, of this reign and of others; and requests of the other methods.
pub fn seeds() -> Vec<Vec<u8>> {
    let watch = |resume_from, namespace: &str| {
        v1::WatchMeshGraphRequest { resume_from, namespace: namespace.to_owned() }.encode_to_vec()
    };
    let mut seeds = vec![seed(b'w', watch(None, "")), seed(b'w', watch(None, "emojivoto"))];
    for (epoch, seq) in [(0, 0), (0, 7), (0, 12), (0, 15), (0, 19), (0, 20), (1, 1), (0, u64::MAX - 1)] {
        let at = Some(v1::Position { epoch: mesh::AT.epoch + epoch, seq });
        seeds.push(seed(b'w', watch(at, "")));
        seeds.push(seed(b'w', watch(at, "emojivoto")));
        seeds.push(seed(b'b', framed(&watch(at, ""))));
    }
    let web = || "emojivoto/deployment/web".to_owned();
    seeds.push(seed(
        b'0',
        v1::GetMeshGraphRequest { namespace: "emojivoto".to_owned(), ..Default::default() }.encode_to_vec(),
    ));
    seeds.push(seed(b'1', v1::GetCallGraphRequest { root: web(), ..Default::default() }.encode_to_vec()));
    for method in b'0'..=b'7' {
        for texts in
            [&["emojivoto/web"][..], &["emojivoto/deployment/vote-bot", "emojivoto/web:80", "GET", "/api"]]
        {
            // All requests begin with fields of text.
            let fields = (1_u8..).zip(texts).flat_map(|(field, text)| {
                [&[field << 3 | 2, u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
            });
            seeds.push(seed(method, fields.collect::<Vec<_>>()));
        }
    }
    seeds
}
