//! What a test starts: one function per set of components.
//!
//! [`kubernetes`] takes some seconds, so tests that only look or that keep to a namespace of their own
//! ([`crate::apiserver::ApiServer::namespace`]) use [`shared_kubernetes`].

use std::io;

use kube::Client;
use tokio::sync::OnceCell;

use crate::apiserver::{self, ApiServer};
use crate::etcd::Etcd;
use crate::exporter::Exporter;
use crate::prometheus::{self, Options, Prometheus, Target};
use crate::redis::Redis;
use crate::{crds, fixtures, mesh, process};

/// Why a set of components could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A process did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The API server did not start, or refused the harness.
    #[error(transparent)]
    ApiServer(#[from] apiserver::Error),
    /// Linkerd's custom resources could not be installed.
    #[error(transparent)]
    Crds(#[from] crds::Error),
    /// The objects of the recorded mesh could not be applied.
    #[error(transparent)]
    Mesh(#[from] mesh::Error),
    /// The recordings could not be read.
    #[error(transparent)]
    Fixtures(#[from] fixtures::Error),
    /// Prometheus did not start.
    #[error(transparent)]
    Prometheus(#[from] prometheus::Error),
    /// An exporter did not start.
    #[error("could not start an exporter")]
    Exporter(#[source] io::Error),
}

/// An API server with Linkerd's custom resources, and nothing else in it.
#[derive(Debug)]
pub struct Kubernetes {
    /// The API server.
    pub apiserver: ApiServer,
    /// Its storage. Dropped after it.
    pub etcd: Etcd,
}

/// Prometheus, scraping the recorded proxies.
#[derive(Debug)]
pub struct Traffic {
    /// Prometheus.
    pub prometheus: Prometheus,
    /// One server per recorded proxy, in the order of [`fixtures::pods`].
    pub exporters: Vec<Exporter>,
}

/// Everything, with the objects that belong to the recorded proxies.
#[derive(Debug)]
pub struct Rig {
    /// The API server and etcd.
    pub kubernetes: Kubernetes,
    /// Redis, empty, without a password.
    pub redis: Redis,
    /// Prometheus and the exporters.
    pub traffic: Traffic,
}

/// Starts an API server of the test's own.
pub async fn kubernetes() -> Result<Kubernetes, Error> {
    let etcd = Etcd::start().await?;
    let apiserver = ApiServer::start(&etcd).await?;
    crds::install(&apiserver.client().await?).await?;
    Ok(Kubernetes { apiserver, etcd })
}

/// The API server that all tests of one program share; it lives until that program ends.
pub async fn shared_kubernetes() -> Result<&'static Kubernetes, Error> {
    // Statics are never dropped: here it is the guard of `process` that stops the programs and removes their folders.
    static SHARED: OnceCell<Kubernetes> = OnceCell::const_new();
    SHARED.get_or_try_init(kubernetes).await
}

/// Starts Prometheus and one exporter per recorded proxy.
pub async fn traffic(options: Options) -> Result<Traffic, Error> {
    let (mut exporters, mut targets) = (Vec::new(), Vec::new());
    for pod in fixtures::pods()? {
        let recording = pod.recording;
        let exporter = Exporter::start(move |time| recording.after(time)).map_err(Error::Exporter)?;
        let mut labels = pod.labels;
        // As on a cluster, where Prometheus scrapes the pod's address.
        labels.insert("instance".to_string(), pod.instance);
        targets.push(Target { address: exporter.address(), labels });
        exporters.push(exporter);
    }
    let prometheus = Prometheus::start(options, &targets).await?;
    Ok(Traffic { prometheus, exporters })
}

// === impl Kubernetes ===

impl Kubernetes {
    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<Client, Error> {
        Ok(self.apiserver.client().await?)
    }

    /// Creates the objects that belong to the recorded proxies.
    pub async fn apply_recorded_mesh(&self) -> Result<(), Error> {
        mesh::apply_recorded(&self.client().await?).await?;
        Ok(())
    }
}

// === impl Rig ===

impl Rig {
    /// Starts everything.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let cluster = async {
            let kubernetes = kubernetes().await?;
            kubernetes.apply_recorded_mesh().await?;
            Ok(kubernetes)
        };
        let redis = async { Ok(Redis::start(None).await?) };
        let (kubernetes, redis, traffic) = tokio::try_join!(cluster, redis, traffic(options))?;
        Ok(Self { kubernetes, redis, traffic })
    }
}
