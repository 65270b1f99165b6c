//! The client of the Kubernetes API: for tokens of callers, and for single objects that somebody asks for. The mesh is
//! known from the feed.

/// A client from the pod's ServiceAccount or the kubeconfig; none where there is neither.
pub(crate) async fn client() -> Option<kube::Client> {
    let config = match kube::Config::infer().await {
        Ok(config) => config,
        Err(error) => {
            tracing::info!(%error, "no Kubernetes API is configured here, so nothing can be asked of it");
            return None;
        }
    };
    match kube::Client::try_from(config) {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::warn!(%error, "the Kubernetes API cannot be used, so nothing can be asked of it");
            None
        }
    }
}
