//! Whom questions about policy are put to: a linkerd-mcp API, or manifests in this process. Both answer with the same
//! messages.

use crate::{
    args::{Globals, Usage, manifests::ManifestArgs},
    client::{self, Mesh},
    offline::{Defaults, Manifests, mesh::OfflineMesh, with_causes},
    output::freshness,
    terminal::{self, Spinner},
};
use linkerd_mcp_api::access;
use linkerd_mcp_graph::policy::{Ignored, Policies};
use linkerd_mcp_proto::v1;

/// The namespace of objects that name none, as kubectl has it.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// Who answers.
pub(crate) enum Source {
    /// An API that has been reached.
    Api(Box<Mesh>),
    /// Manifests that have been read.
    Manifests(Box<OfflineMesh>),
}

/// Who answers, and where names without a namespace are looked for.
pub(crate) struct Asked {
    source: Source,
    /// The namespace of the command line, else that of the kubeconfig context; none with manifests and with an address:
    /// then names are looked for everywhere.
    pub(crate) namespace: Option<String>,
    /// How many documents could not be read.
    faults: usize,
    /// Objects in manifests that Linkerd does as if they were not there, each as a sentence.
    ignored: Vec<String>,
}

// === impl Asked ===

impl Asked {
    /// Reads the manifests that are named, else reaches the API. What cannot be read is told on stderr.
    ///
    /// # Errors
    /// When no API can be reached, or the manifests hold nothing.
    pub(crate) async fn open(
        globals: &Globals,
        manifests: &ManifestArgs,
        namespace: Option<&str>,
    ) -> anyhow::Result<Self> {
        if !manifests.given() {
            let mesh = client::connect(globals).await?;
            let namespace = namespace.map(str::to_owned).or_else(|| mesh.namespace.clone());
            return Ok(Self {
                source: Source::Api(Box::new(mesh)),
                namespace,
                faults: 0,
                ignored: Vec::new(),
            });
        }
        let settings = manifests.cluster.settings(globals);
        let defaults = Defaults {
            namespace: namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned(),
            opaque_ports: settings.default_opaque_ports.clone(),
            control_plane: settings.control_plane_namespace.to_string(),
        };
        let read = Manifests::read(&manifests.filename, &defaults);
        let faults = read.faults.len();
        read.faults.iter().for_each(|fault| terminal::say(fault));
        let policies = Policies::read(&read.facts, &settings);
        let sentence = |it: &Ignored| format!("Linkerd ignores {}: {}", it.id, with_causes(&it.fault));
        let ignored = policies.ignored().map(sentence).collect();
        let source = Source::Manifests(Box::new(OfflineMesh::new(read, &settings)));
        Ok(Self { source, namespace: namespace.map(str::to_owned), faults, ignored })
    }

    /// Tells which objects in manifests make no difference because Linkerd ignores them.
    pub(crate) fn say_ignored(&self) {
        self.ignored.iter().for_each(|sentence| terminal::say(sentence));
    }

    /// The one namespace to ask about.
    ///
    /// # Errors
    /// When none is named and there is not just one.
    pub(crate) fn one_namespace(&self) -> Result<String, Usage> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        match &self.source {
            Source::Api(_) => Err(Usage("name a namespace with -n".to_owned())),
            Source::Manifests(offline) => match &offline.namespaces()[..] {
                [only] => Ok(only.clone()),
                [] => Err(Usage("the manifests hold no workloads to ask about".to_owned())),
                several => Err(Usage(format!("name a namespace with -n: {}", several.join(", ")))),
            },
        }
    }

    /// What is wrong with an answer of which parts were not read.
    ///
    /// # Errors
    /// When there are any.
    pub(crate) fn complete(&self) -> anyhow::Result<()> {
        match self.faults {
            0 => Ok(()),
            1 => anyhow::bail!("one document could not be read; what is printed is decided without it"),
            count => {
                anyhow::bail!("{count} documents could not be read; what is printed is decided without them")
            }
        }
    }

    /// May this client make this call?
    pub(crate) async fn check(
        &self,
        request: v1::CheckAccessRequest,
    ) -> anyhow::Result<v1::CheckAccessResponse> {
        match &self.source {
            Source::Api(mesh) => {
                let _spinner = Spinner::start("Asking who may call whom");
                Ok(mesh.check_access(request).await?)
            }
            Source::Manifests(offline) => Ok(access::check_access(&offline.mesh(), &request)?),
        }
    }

    /// Who may call whom.
    pub(crate) async fn list(
        &self,
        request: v1::ListAccessRequest,
    ) -> anyhow::Result<v1::ListAccessResponse> {
        match &self.source {
            Source::Api(mesh) => {
                let _spinner = Spinner::start("Asking who may call whom");
                Ok(mesh.list_access(request).await?)
            }
            Source::Manifests(offline) => Ok(access::list_access(&offline.mesh(), &request)?),
        }
    }

    /// What is likely not meant about policies.
    pub(crate) async fn lint(
        &self,
        request: v1::LintPoliciesRequest,
    ) -> anyhow::Result<v1::LintPoliciesResponse> {
        match &self.source {
            Source::Api(mesh) => {
                let _spinner = Spinner::start("Asking about policies");
                Ok(mesh.lint_policies(request).await?)
            }
            Source::Manifests(offline) => Ok(access::lint_policies(&offline.mesh(), &request)?),
        }
    }

    /// What is being denied. Manifests have no traffic.
    pub(crate) async fn denials(
        &self,
        request: v1::ExplainDenialsRequest,
    ) -> anyhow::Result<v1::ExplainDenialsResponse> {
        match &self.source {
            Source::Api(mesh) => {
                let _spinner = Spinner::start("Asking what is denied");
                Ok(mesh.explain_denials(request).await?)
            }
            Source::Manifests(_) => anyhow::bail!("manifests have no traffic, so nothing is denied in them"),
        }
    }
}

/// Says how fresh an answer of an API is; manifests are what they are.
pub(crate) fn say_freshness(freshness: Option<&v1::Freshness>) {
    if freshness.is_some() {
        freshness::sentences(freshness).iter().for_each(|sentence| terminal::say(sentence));
    }
}
