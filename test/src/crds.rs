//! Linkerd's custom resources and the Gateway API's, from `test/crds`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use crate::fixtures::yaml_files;
use crate::wait;

/// The definitions could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing.
    #[error("could not read {path}")]
    Read {
        /// Which file or folder.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// A file is not a CustomResourceDefinition.
    #[error("{path} is not a CustomResourceDefinition")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: serde_yaml::Error,
    },
    /// The API server refused one.
    #[error("the API server refused the definition {name}")]
    Refused {
        /// The name of the definition.
        name: String,
        /// Its answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server took them, but does not serve them.
    #[error("a definition was not established")]
    NotEstablished(#[from] wait::Timeout),
}

/// How long the API server may take until it serves a new definition.
const ESTABLISHED: Duration = Duration::from_secs(60);

/// All definitions, one per file, in the order of the files' names.
pub fn all() -> Result<Vec<CustomResourceDefinition>, Error> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let parse = |path: PathBuf| {
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        serde_yaml::from_str(&text).map_err(|source| Error::Parse { path, source })
    };
    let files = yaml_files(&dir).map_err(|source| Error::Read { path: dir, source })?;
    files.into_iter().map(parse).collect()
}

/// Installs them all and waits until they are served.
pub async fn install(client: &Client) -> Result<(), Error> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    try_join_all(all()?.into_iter().map(|definition| install_one(&api, definition))).await?;
    Ok(())
}

/// Installs one and waits until it is served.
pub async fn install_one(
    api: &Api<CustomResourceDefinition>,
    definition: CustomResourceDefinition,
) -> Result<(), Error> {
    let name = definition.name_any();
    let refused = |source| Error::Refused { name: name.clone(), source: Box::new(source) };
    api.create(&PostParams::default(), &definition).await.map_err(refused)?;
    let what = format!("{name} is established");
    wait::until(&what, ESTABLISHED, async || {
        let current = api.get_status(&name).await.ok()?;
        is_established(&current).then_some(())
    })
    .await?;
    Ok(())
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_has_exactly_one_storage_version() {
        for definition in all().unwrap() {
            let stored = definition.spec.versions.iter().filter(|version| version.storage).count();
            assert_eq!(stored, 1, "{}", definition.name_any());
        }
    }
}
