//! The trust roots of the mesh: who may say who callers are. Read again and again, because they change while this runs.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{fmt, path::PathBuf, sync::Arc};

/// Where the trust roots are.
#[derive(Clone)]
pub enum Roots {
    /// A file in PEM.
    File(PathBuf),
    /// The ConfigMap of Linkerd's control plane.
    ConfigMap {
        /// The API server to read it from.
        client: kube::Client,
        /// The control plane's namespace.
        namespace: String,
    },
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the trust roots in {} cannot be read", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The ConfigMap cannot be read.
    #[error("the ConfigMap {NAME} in namespace {namespace} cannot be read")]
    ConfigMap {
        /// The control plane's namespace.
        namespace: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// There is no certificate in it, or one that is none.
    #[error("the trust roots hold no certificate in PEM form, or one that cannot be read")]
    Unreadable,
    /// More than any mesh has.
    #[error("the trust roots are larger than {LARGEST} bytes")]
    TooLarge,
}

const NAME: &str = "linkerd-identity-trust-roots";
const KEY: &str = "ca-bundle.crt";
/// A bundle of a rotation has two or three certificates of about 1 KiB.
const LARGEST: usize = 1 << 20;

// === impl Roots ===

impl Roots {
    /// The text as it is now.
    pub(crate) async fn text(&self) -> Result<String, Error> {
        let text = match self {
            Self::File(path) => {
                let failed = |source| Error::File { path: path.clone(), source };
                tokio::fs::read_to_string(path).await.map_err(failed)?
            }
            Self::ConfigMap { client, namespace } => {
                let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                let map = maps.get(NAME).await.map_err(|source| Error::ConfigMap {
                    namespace: namespace.clone(),
                    source: Box::new(source),
                })?;
                map.data.and_then(|mut it| it.remove(KEY)).unwrap_or_default()
            }
        };
        if text.len() > LARGEST { Err(Error::TooLarge) } else { Ok(text) }
    }
}

/// The certificates of a bundle. One that cannot be read spoils it: what an operator believes to be trusted must be.
pub(crate) fn store(text: &str) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|_| Error::Unreadable)?;
        store.add(certificate).map_err(|_| Error::Unreadable)?;
    }
    if store.is_empty() { Err(Error::Unreadable) } else { Ok(Arc::new(store)) }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::ConfigMap { namespace, .. } => f.debug_tuple("ConfigMap").field(namespace).finish(),
        }
    }
}
