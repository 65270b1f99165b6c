//! Reaches a pod of the cluster from outside of it: a local port whose connections are forwarded through the API
//! server, as `kubectl port-forward` does.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use std::net::SocketAddr;
use tokio::{io, net::TcpListener, task::JoinHandle};

/// Why there is no way to the pod.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server would not say which pods there are.
    #[error("the pods of namespace {namespace} cannot be listed")]
    List {
        /// Where.
        namespace: String,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// Nothing to forward to.
    #[error("no running pod with labels {labels} in namespace {namespace}")]
    NoPod {
        /// Where.
        namespace: String,
        /// Which.
        labels: String,
    },
    /// No local port.
    #[error("no local port could be opened")]
    Listen(#[source] io::Error),
}

/// A local address that leads to a pod for as long as this value lives.
#[derive(Debug)]
pub struct Forwarded {
    /// Where to connect to.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards a local port to `port` of a running pod with `labels`. Each connection looks for a pod anew, so that a
/// replaced pod is found again.
pub async fn forward(
    client: kube::Client,
    namespace: &str,
    labels: &str,
    port: u16,
) -> Result<Forwarded, Error> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    running(&pods, namespace, labels).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Error::Listen)?;
    let address = listener.local_addr().map_err(Error::Listen)?;
    let (namespace, labels) = (namespace.to_owned(), labels.to_owned());
    let task = tokio::spawn(async move {
        while let Ok((mut local, _)) = listener.accept().await {
            let (pods, namespace, labels) = (pods.clone(), namespace.clone(), labels.clone());
            tokio::spawn(async move {
                let outcome = async {
                    let pod = running(&pods, &namespace, &labels).await?;
                    let mut forwarder = pods.portforward(&pod, &[port]).await.map_err(|source| {
                        Error::List { namespace: namespace.clone(), source: Box::new(source) }
                    })?;
                    if let Some(mut remote) = forwarder.take_stream(port) {
                        // Either side may hang up; that is no error of ours.
                        let _closed = io::copy_bidirectional(&mut local, &mut remote).await;
                    }
                    Ok::<_, Error>(())
                };
                if let Err(error) = outcome.await {
                    tracing::warn!(error = %crate::chain::chain(&error), "a connection could not be forwarded to a pod");
                }
            });
        }
    });
    Ok(Forwarded { address, task })
}

async fn running(pods: &Api<Pod>, namespace: &str, labels: &str) -> Result<String, Error> {
    let params = ListParams::default().labels(labels).fields("status.phase=Running");
    let list = pods
        .list(&params)
        .await
        .map_err(|source| Error::List { namespace: namespace.to_owned(), source: Box::new(source) })?;
    list.items
        .into_iter()
        .find_map(|pod| pod.metadata.name)
        .ok_or_else(|| Error::NoPod { namespace: namespace.to_owned(), labels: labels.to_owned() })
}
