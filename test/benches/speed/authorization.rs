//! What it costs to ask whether a caller may, with what was decided a moment ago, and to keep the audit log: whole calls of
//! the gRPC service in this process, without a socket, with and without.

use crate::{
    measure::{Table, compare, time},
    mesh::SMALL,
};
use linkerd_mcp_api::{
    authorization::Authorization,
    caller::{Principal, Proof},
    fuzz::Service,
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
    rights::{Rights, Verdict},
};
use linkerd_mcp_graph::feed::{Event, Position, Snapshot, Subscription};
use linkerd_mcp_proto::v1;
use prometheus_client::registry::Registry;
use prost::Message;
use std::convert::Infallible;

/// Gives one snapshot, and nothing more.
struct Once(Option<Snapshot>);

impl Subscription for Once {
    type Error = Infallible;

    async fn next(&mut self) -> Result<Event, Infallible> {
        match self.0.take() {
            Some(snapshot) => Ok(Event::Snapshot(snapshot)),
            None => std::future::pending().await,
        }
    }

    async fn resync(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

fn framed(message: &impl Message) -> bytes::Bytes {
    let message = message.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&message);
    bytes.into()
}

pub(crate) fn authorization(table: &mut Table) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let metrics = ApiMetrics::register(&mut Registry::default());
    let replica = Replica::new(RingLimits::default(), metrics.clone());
    let mesh = SMALL.mesh();
    let snapshot = Snapshot {
        position: Position { epoch: 1, seq: 1 },
        as_of_ms: 0,
        graph: mesh.graph,
        metrics: mesh.metrics,
    };
    runtime.block_on(async {
        let (follower, mut ticks) = (replica.clone(), replica.ticks());
        tokio::spawn(async move { follower.follow(Once(Some(snapshot))).await });
        ticks.wait_for(|tick| tick.revision > 0).await.unwrap();
    });
    let rights = Rights::decided_by(|_, _| Box::pin(std::future::ready(Verdict::Allowed)));
    let who = Principal::service_account("agents", "agent", "agent", Proof::Token);
    let mut service = Service::new(replica, metrics).guarded(Authorization::new(rights));
    let mut other = service.clone();
    let check = v1::CheckAccessRequest {
        from: "team-000/accounts-1".to_owned(),
        to: "team-000/gateway-0:80".to_owned(),
        ..Default::default()
    };
    let call = v1::GetCallGraphRequest { root: "team-000/gateway-0".to_owned(), ..Default::default() };
    let whole = v1::GetMeshGraphRequest::default();
    for (method, body) in
        [("GetMeshGraph", framed(&whole)), ("GetCallGraph", framed(&call)), ("CheckAccess", framed(&check))]
    {
        let lengths = runtime.block_on(async {
            (
                service.answer(method, body.clone(), Some(&who)).await,
                other.answer(method, body.clone(), None).await,
            )
        });
        assert!(lengths.0 > 100 && lengths.0.abs_diff(lengths.1) < 16, "{method}: {lengths:?}");
        let ask = |service: &mut Service, who| runtime.block_on(service.answer(method, body.clone(), who));
        let compared = compare(21, 200, || ask(&mut service, Some(&who)), || ask(&mut other, None));
        let added = compared.candidate.saturating_sub(compared.floor);
        let what =
            format!("{method} of a caller with rights that are remembered; floor: the same without asking");
        table.compared(&what, compared, &format!("{} added", time(added)));
    }
}
