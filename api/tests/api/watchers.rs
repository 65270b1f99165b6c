//! Very many watchers, and one too many.

use crate::{
    fixture::{self, CART_TO_DB},
    rig::{Rig, config, within},
};
use futures::{StreamExt, TryStreamExt, stream};
use linkerd_mcp_api::Config;
use linkerd_mcp_graph::model::Graph;
use linkerd_mcp_proto::v1::{
    WatchMeshGraphRequest, WatchMeshGraphResponse, mesh_context_client::MeshContextClient,
    watch_mesh_graph_response::Event,
};
use prost::Message as _;
use prost_types::Any;
use std::{collections::BTreeSet, ops::Range, time::Duration};
use tonic::{Code, Status, Streaming, transport::Channel};

const MOST: usize = 10_000;
/// Of one connection; the server allows 1,024 streams on each.
const EACH: usize = 1_000;

type Watch = Streaming<WatchMeshGraphResponse>;

/// `google.rpc.Status` and `google.rpc.RetryInfo`, as clients have them.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

fn without_db(graph: &mut Graph) {
    graph.edges.remove(CART_TO_DB);
}

async fn watch(mut client: MeshContextClient<Channel>) -> Result<Watch, Status> {
    Ok(client.watch_mesh_graph(WatchMeshGraphRequest::default()).await?.into_inner())
}

async fn next(watch: &mut Watch) -> Event {
    within(watch.message()).await.unwrap().unwrap().event.unwrap()
}

/// When the status says to come back, which it says twice.
#[track_caller]
fn hint(status: &Status) -> Duration {
    let details = RpcStatus::decode(status.details()).unwrap().details;
    let [detail] = &*details else { panic!("{details:?}") };
    assert_eq!(detail.type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let delay = RetryInfo::decode(&*detail.value).unwrap().retry_delay.unwrap();
    let delay = Duration::try_from(delay).unwrap();
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert_eq!(pushback, delay.as_millis().to_string());
    delay
}

/// That the hints are in the range, and spread over it: hardly two are alike, and neither half is empty.
#[track_caller]
fn assert_spread(hints: &[Duration], range: &Range<Duration>) {
    assert!(hints.iter().all(|hint| range.contains(hint)), "{hints:?}");
    let different: BTreeSet<_> = hints.iter().collect();
    assert!(different.len() * 10 > hints.len() * 8, "{hints:?}");
    let middle = (range.start + range.end) / 2;
    let early = hints.iter().filter(|hint| **hint < middle).count();
    assert!(early > hints.len() / 5 && early < hints.len() * 4 / 5, "{early} of {} early", hints.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_watchers_get_every_change_and_the_next_one_is_told_when_to_come_back() {
    // On a busy machine this takes longer than the pause between two bookmarks, which would come before the change.
    let mut rig = Rig::ready(Config { bookmarks: Duration::from_secs(3_600), ..config() }).await;
    let mut watches = Vec::new();
    for _ in 0..MOST / EACH {
        let client = rig.client().await;
        let opening = stream::iter((0..EACH).map(|_| watch(client.clone()))).buffer_unordered(100);
        watches.extend(opening.try_collect::<Vec<_>>().await.unwrap());
    }
    assert_eq!(watches.len(), MOST);
    for watch in &mut watches {
        assert!(matches!(next(watch).await, Event::Snapshot(_)));
    }

    let client = rig.client().await;
    let mut hints = Vec::new();
    for _ in 0..50 {
        let refused = within(watch(client.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(
            refused.message().starts_with("this replica has 10000 watches open"),
            "{}",
            refused.message()
        );
        hints.push(hint(&refused));
    }
    assert_spread(&hints, &(Duration::from_secs(5)..Duration::from_secs(15)));

    // Those who are in notice nothing of those who are not.
    let mut graph = fixture::graph();
    rig.send(fixture::delta(&mut graph, 2, without_db)).await;
    for watch in &mut watches {
        let Event::Delta(delta) = next(watch).await else { panic!("the change comes next") };
        assert_eq!((delta.position.unwrap().seq, delta.removed_edges), (2, vec![CART_TO_DB.to_owned()]));
    }

    // At the end all of them are sent away, to come back over the next five seconds.
    rig.stop.take().unwrap().send(()).unwrap();
    let mut hints = Vec::new();
    for watch in &mut watches {
        let status = within(watch.message()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        hints.push(hint(&status));
    }
    // Whoever is told later finds fewer left, and may come back sooner.
    assert!(hints.iter().all(|hint| *hint < Duration::from_secs(5)));
    let different: BTreeSet<_> = hints.iter().collect();
    assert!(different.len() > 1_000, "{} moments for {MOST} watchers", different.len());
    drop(watches);
    within(&mut rig.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_watcher_that_leaves_makes_room() {
    let rig = Rig::ready(Config { max_watchers: 2, ..config() }).await;
    let client = rig.client().await;
    let first = watch(client.clone()).await.unwrap();
    let _second = watch(client.clone()).await.unwrap();
    assert_eq!(watch(client.clone()).await.unwrap_err().code(), Code::ResourceExhausted);
    drop(first);
    let open = || async { rig.get_with(rig.admin, "/metrics", &[]).await.text };
    within(async {
        while !open().await.contains("mcp_api_watchers 1\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut third = watch(client.clone()).await.unwrap();
    assert!(matches!(next(&mut third).await, Event::Snapshot(_)));
}
