//! What a test has: a namespace with Services, a Redis, and as many controllers and APIs as it starts.

use crate::{naive::Naive, watcher::Watcher};
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams};
use linkerd_mcp_graph::{feed::Position, wire};
use linkerd_mcp_proto::v1::{self, GetMeshGraphRequest, mesh_context_client::MeshContextClient};
use linkerd_mcp_test::{
    ours::{Api, Controller, ControllerOptions},
    process::Process,
    proxy::Proxy,
    redis::Redis,
    rig, wait,
};
use serde_json::json;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tonic::transport::Channel;

/// How long anything may take before the test fails. Long, because two cores are shared.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The lease of the controllers here: as short as a shared machine lets it be without losing it.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// The first port of every Service by the Service's name.
pub(crate) type Ports = BTreeMap<String, u16>;

/// One mesh with its Redis.
pub(crate) struct World {
    kubeconfig: String,
    namespace: String,
    services: kube::Api<Service>,
    pub(crate) redis: Redis,
    /// What there is in Kubernetes.
    pub(crate) truth: Ports,
}

/// A running API and a client of it.
pub(crate) struct Replica {
    pub(crate) api: Api,
    client: MeshContextClient<Channel>,
}

impl World {
    /// A namespace with one Service, `web`, on port 80.
    pub(crate) async fn new() -> Self {
        let kubernetes = rig::shared_kubernetes().await.unwrap();
        let namespace = kubernetes.apiserver.namespace("faults", &[]).await.unwrap();
        let services = kube::Api::namespaced(kubernetes.client().await.unwrap(), &namespace);
        let kubeconfig = kubernetes.apiserver.kubeconfig();
        let redis = Redis::start(None).await.unwrap();
        let mut world = Self { kubeconfig, namespace, services, redis, truth: Ports::new() };
        world.set("web", 80).await;
        world
    }

    /// Makes a Service have this port.
    pub(crate) async fn set(&mut self, name: &str, port: u16) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"ports": [{"port": port}]}
        });
        let apply = PatchParams::apply("test").force();
        self.services.patch(name, &apply, &Patch::Apply(service)).await.unwrap();
        self.truth.insert(name.to_owned(), port);
    }

    /// Deletes a Service.
    pub(crate) async fn remove(&mut self, name: &str) {
        self.services.delete(name, &DeleteParams::default()).await.unwrap();
        self.truth.remove(name);
    }

    /// A controller that finds Redis at `redis`, ready to lead or to stand by.
    pub(crate) async fn controller(&self, holder: &str, redis: SocketAddr) -> Controller {
        self.controller_with(holder, redis, LEASE).await
    }

    /// The same with another lease.
    pub(crate) async fn controller_with(
        &self,
        holder: &str,
        redis: SocketAddr,
        lease: Duration,
    ) -> Controller {
        let options = ControllerOptions {
            kubeconfig: self.kubeconfig.clone(),
            redis_url: format!("redis://{redis}"),
            prometheus_url: "http://127.0.0.1:1".to_owned(),
            more: vec![
                format!("--holder={holder}"),
                format!("--namespace-only={}", self.namespace),
                format!("--lease={}s", lease.as_secs()),
            ],
        };
        Controller::start(&options).await.unwrap()
    }

    /// An API that finds Redis at `redis` and has a graph.
    pub(crate) async fn replica(&self, redis: SocketAddr) -> Replica {
        Replica::of(Api::start(&format!("redis://{redis}")).await.unwrap()).await
    }

    /// An API that runs, with a graph or without.
    pub(crate) async fn cold_replica(&self, redis: SocketAddr) -> Replica {
        Replica::of(Api::alive(&format!("redis://{redis}")).await.unwrap()).await
    }

    /// A follower without care, of the Redis at `redis`.
    pub(crate) async fn naive(&self, redis: SocketAddr) -> Naive {
        Naive::start(redis).await
    }

    /// Waits until a replica has what Kubernetes has and says that the feed delivers.
    pub(crate) async fn until_true(&self, replica: &Replica) {
        let same = wait::until("the replica has what Kubernetes has", SOON, async || {
            let graph = replica.read().await.ok()?;
            (ports(&graph) == self.truth && feed(&graph).connected).then_some(())
        })
        .await;
        if same.is_err() {
            let graph = replica.read().await.map(|graph| (ports(&graph), graph.freshness));
            panic!("{graph:?} is not {:?}; log of the API:\n{}", self.truth, log(replica.api.process()));
        }
    }

    /// Another Redis takes the place of ours behind `proxy`, and ours is gone.
    pub(crate) fn replace_redis(&mut self, proxy: &Proxy, redis: Redis) {
        proxy.retarget(redis.address());
        let old = std::mem::replace(&mut self.redis, redis);
        drop(old);
        proxy.cut();
    }

    /// The leader's token.
    pub(crate) async fn leader(&self) -> Option<String> {
        self.redis.run(&format!("GET {}", wire::LEADER)).await.ok()?
    }

    /// The present reign.
    pub(crate) async fn epoch(&self) -> Option<u64> {
        self.redis.run(&format!("GET {}", wire::EPOCH)).await.ok()?
    }

    /// Waits until the controller `holder` leads, and gives its token.
    pub(crate) async fn until_leads(&self, holder: &str) -> String {
        let leads = wait::until("the controller leads", SOON, async || {
            self.leader().await.filter(|token| token.starts_with(&format!("{holder}/")))
        });
        leads.await.unwrap()
    }
}

impl Replica {
    async fn of(api: Api) -> Self {
        let channel =
            Channel::from_shared(format!("http://{}", api.address())).unwrap().connect().await.unwrap();
        let client = MeshContextClient::new(channel).max_decoding_message_size(64 << 20);
        Self { api, client }
    }

    /// The graph as it is answered now.
    pub(crate) async fn read(&self) -> Result<v1::MeshGraph, tonic::Status> {
        let answer = self.client.clone().get_mesh_graph(GetMeshGraphRequest::default()).await?;
        Ok(answer.into_inner().graph.unwrap_or_default())
    }

    /// Where it says it is, and whether it says that the feed delivers.
    pub(crate) async fn feed(&self) -> v1::FeedFreshness {
        feed(&self.read().await.unwrap())
    }

    /// Its position.
    pub(crate) async fn position(&self) -> Position {
        let v1::Position { epoch, seq } = self.feed().await.position.unwrap();
        Position { epoch, seq }
    }

    /// Watches from now on.
    pub(crate) async fn watch(&self) -> Watcher {
        Watcher::start(self.client.clone()).await
    }

    /// Waits until its answers are as `wanted`.
    pub(crate) async fn until<T>(&self, what: &str, wanted: impl Fn(&v1::MeshGraph) -> Option<T>) -> T {
        let found = wait::until(what, SOON, async || wanted(&self.read().await.ok()?)).await;
        found.unwrap_or_else(|error| panic!("{error}; log of the API:\n{}", log(self.api.process())))
    }

    /// A counter or gauge of its metrics, summed over labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        metric(&self.api.metrics().await.unwrap(), name)
    }

    /// Waits until a counter has grown above `than`.
    pub(crate) async fn until_counted(&self, name: &str, than: f64) {
        let grown =
            wait::until("the counter grows", SOON, async || (self.metric(name).await > than).then_some(()));
        assert!(grown.await.is_ok(), "{name} is still {than}; log of the API:\n{}", log(self.api.process()));
    }
}

/// The sum of a metric over its labels; 0 when there is none.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let family = series.split_once('{').map_or(series, |(family, _)| family);
        (family == name).then(|| value.parse::<f64>().ok())?
    });
    samples.sum()
}

/// Waits until a process has written this.
pub(crate) async fn until_says(process: &Process, words: &str) {
    let said =
        wait::until("the log says it", SOON, async || log(process).contains(words).then_some(())).await;
    assert!(said.is_ok(), "`{words}` is not in the log:\n{}", log(process));
}

/// The Services of a graph.
pub(crate) fn ports(graph: &v1::MeshGraph) -> Ports {
    let of = |service: &v1::Service| {
        (
            service.name.clone(),
            service.ports.first().and_then(|port| u16::try_from(port.port).ok()).unwrap_or(0),
        )
    };
    graph.services.iter().map(of).collect()
}

/// How fresh a graph says that it is.
pub(crate) fn feed(graph: &v1::MeshGraph) -> v1::FeedFreshness {
    graph.freshness.as_ref().and_then(|freshness| freshness.feed).unwrap_or_default()
}

/// What a process wrote.
pub(crate) fn log(process: &Process) -> String {
    std::fs::read_to_string(process.log()).unwrap_or_default()
}

/// The most memory a process has ever had, in bytes.
pub(crate) fn peak_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib * 1024
}
