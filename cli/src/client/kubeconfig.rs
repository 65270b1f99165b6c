//! The Kubernetes configuration that the flags lead to. Also what `serve` starts from.

use super::Error;
use crate::args::Globals;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use std::{io, time::Duration};

/// An API server that is there answers a connection at once; a stopped local cluster must not cost half a minute.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the kubeconfig: `--kubeconfig`, else `KUBECONFIG` and `~/.kube/config`, else the pod's ServiceAccount.
///
/// # Errors
/// [`Error::NoKubeconfig`] when there is none, [`Error::Kubeconfig`] when it cannot be used.
pub(crate) async fn load(globals: &Globals) -> Result<Config, Error> {
    let path = globals.kubeconfig.clone();
    let read = match &path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let refused = |source| Error::Kubeconfig { path: path.clone(), source: Box::new(source) };
    let mut config = match read {
        Ok(kubeconfig) if is_empty(&kubeconfig) && !globals.names_a_cluster() => in_cluster()?,
        Ok(kubeconfig) => {
            let options =
                KubeConfigOptions { context: globals.context.clone(), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(refused)?
        }
        Err(error) if path.is_none() && is_missing(&error) => in_cluster()?,
        Err(error) => return Err(refused(error)),
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    if let Some(user) = &globals.impersonate {
        config.auth_info.impersonate = Some(user.clone());
    }
    if !globals.groups().is_empty() {
        config.auth_info.impersonate_groups = Some(globals.groups());
    }
    Ok(config)
}

/// The configuration of a pod, when this runs in one.
fn in_cluster() -> Result<Config, Error> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        return Err(Error::NoKubeconfig);
    }
    Config::incluster().map_err(|source| Error::InCluster { source })
}

/// True for a file without a cluster, as `kubectl config delete-cluster` leaves behind.
fn is_empty(kubeconfig: &Kubeconfig) -> bool {
    kubeconfig.clusters.is_empty() && kubeconfig.contexts.is_empty()
}

fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::ReadConfig(error, _) => error.kind() == io::ErrorKind::NotFound,
        KubeconfigError::FindPath => true,
        _ => false,
    }
}
