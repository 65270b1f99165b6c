//! Looks: asks the cluster and the API, and decides nothing.

use super::{
    needs, ready, rights,
    seen::{ApiSeen, Binding, DeploymentSeen, Enforced, Gap, Looked, PodSeen, Seen, TrustRoot},
};
use crate::{
    args::Globals,
    client::{self, Error, kubeconfig},
    install::{self, Values, manifest::Document, set_unless_set},
};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        authorization::v1::{
            ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
            SubjectAccessReviewSpec,
        },
        core::v1::{ConfigMap, Namespace, Pod},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, RoleRef, Subject},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};
use linkerd_mcp_proto::v1::{Freshness, LintPoliciesRequest, LintPoliciesResponse};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    error::Error as _,
    fmt::Debug,
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;
use tonic::Code;

const LABEL: &str = "linkerd.io/extension=mcp";
const VIZ: &str = "linkerd.io/extension=viz";
/// Where an installation goes unless it is said otherwise.
const USUAL_NAMESPACE: &str = "linkerd-mcp";
const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";
/// For one request, as Linkerd's checks have it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests that ask about rights, at once.
const REVIEWS: usize = 8;
/// Of our pods that are not ready, so many are asked why.
const PODS_ASKED: usize = 4;
/// Objects in one answer.
const PAGE: u32 = 500;
/// Pages of one list: a mesh of 50,000 pods.
const MOST_PAGES: usize = 100;

/// What to look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) globals: &'a Globals,
    /// Before an installation.
    pub(crate) pre: bool,
    /// The proxies of the mesh too.
    pub(crate) proxy: bool,
    /// Those in this namespace only.
    pub(crate) namespace: Option<&'a str>,
    /// Before an installation: what is to be installed, unless it is what the chart makes of its own values.
    pub(crate) documents: Option<&'a [Document]>,
}

/// A cluster that answers.
struct Eyes {
    client: Client,
    url: http::Uri,
}

/// Looks at everything of this scope.
pub(crate) async fn look(scope: Scope<'_>) -> Seen {
    let mut seen = Seen::nothing(&scope.globals.linkerd_namespace);
    let eyes = match Eyes::open(scope.globals).await {
        Ok(eyes) => eyes,
        Err(gap) => {
            seen.kubernetes = Err(gap);
            return seen;
        }
    };
    let version = eyes.step("ask for the version of Kubernetes", eyes.client.apiserver_version()).await;
    seen.kubernetes = version.map(|version| version.git_version);
    if seen.kubernetes.is_err() {
        return seen;
    }
    let named = scope.globals.mcp_namespace.as_deref();
    seen.namespaces = eyes.namespaces(LABEL).await;
    (seen.linkerd, seen.trust_roots, seen.crds) = tokio::join!(
        eyes.linkerd_version(&scope.globals.linkerd_namespace),
        eyes.trust_roots(&scope.globals.linkerd_namespace),
        eyes.crds()
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    seen.now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if scope.pre {
        seen.viz = eyes.namespaces(VIZ).await;
        let usual = match scope.documents {
            Some(_) => Ok(Vec::new()),
            None => usual_documents(named.unwrap_or(USUAL_NAMESPACE), &seen),
        };
        match (scope.documents, usual) {
            (None, Err(gap)) => seen.missing_to_install = Err(gap),
            (documents, usual) => {
                let usual = usual.unwrap_or_default();
                let documents = documents.unwrap_or(&usual);
                seen.missing_to_install = eyes.missing_to_install(documents).await;
                seen.lacking = eyes.lacking(documents, &seen).await;
            }
        }
        return seen;
    }
    seen.namespace = match (named, &seen.namespaces) {
        (Some(named), _) => Some(named.to_owned()),
        (None, Ok(labelled)) => labelled.iter().min().cloned(),
        // Who may not list namespaces gets the usual one, as with every other command.
        (None, Err(_)) => Some(USUAL_NAMESPACE.to_owned()),
    };
    if let Some(namespace) = seen.namespace.clone() {
        let exists = seen.namespaces.as_ref().map_or(true, |labelled| labelled.contains(&namespace));
        if exists {
            eyes.installation(scope, &namespace, &mut seen).await;
        }
    }
    seen
}

// === impl Eyes ===

impl Eyes {
    async fn open(globals: &Globals) -> Looked<Self> {
        let config = kubeconfig::load(globals).await.map_err(|error| gap(&error))?;
        let url = config.cluster_url.clone();
        let client =
            Client::try_from(config).map_err(|source| gap(&Error::Client { source: Box::new(source) }))?;
        Ok(Self { client, url })
    }

    async fn installation(&self, scope: Scope<'_>, namespace: &str, seen: &mut Seen) {
        let client = &self.client;
        let labelled = ListParams::default().labels(LABEL);
        let within = ListParams::default().labels(LABEL);
        let (cluster_roles, cluster_role_bindings, roles, role_bindings, deployments, pods) = tokio::join!(
            self.list(Api::<ClusterRole>::all(client.clone()), &labelled, "list ClusterRoles"),
            self.list(Api::<ClusterRoleBinding>::all(client.clone()), &labelled, "list ClusterRoleBindings"),
            self.list(Api::<Role>::all(client.clone()), &labelled, "list Roles"),
            self.list(Api::<RoleBinding>::all(client.clone()), &labelled, "list RoleBindings"),
            self.list(Api::<Deployment>::namespaced(client.clone(), namespace), &within, "list Deployments"),
            self.list(Api::<Pod>::namespaced(client.clone(), namespace), &within, "list pods"),
        );
        seen.cluster_roles = cluster_roles.map(|it| it.iter().map(ResourceExt::name_any).collect());
        seen.roles = roles.map(|it| it.iter().map(key).collect());
        seen.cluster_role_bindings = cluster_role_bindings.map(|it| {
            it.iter().map(|it| binding(it.name_any(), &it.role_ref, it.subjects.as_deref())).collect()
        });
        seen.role_bindings = role_bindings
            .map(|it| it.iter().map(|it| binding(key(it), &it.role_ref, it.subjects.as_deref())).collect());
        seen.deployments = deployments
            .map(|it| it.iter().map(|it| (it.name_any(), DeploymentSeen::from_deployment(it))).collect());
        seen.pods = pods.map(|it| it.iter().filter_map(PodSeen::from_pod).collect());
        let ours = Api::<Pod>::namespaced(client.clone(), namespace);
        for pod in seen.pods.iter_mut().flatten().filter(|pod| !pod.unready.is_empty()).take(PODS_ASKED) {
            pod.says = ready::reason(&ours, pod).await;
        }
        let account = format!("system:serviceaccount:{namespace}:mcp-controller");
        let groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        seen.missing_rights =
            self.missing(rights::of_controller(seen), |right| self.may(&account, &groups, right)).await;
        if scope.proxy {
            if let Some(place) = scope.namespace {
                let exists = self
                    .step("get the namespace", Api::<Namespace>::all(client.clone()).get_opt(place))
                    .await;
                seen.data_plane_namespace = exists.map(|it| (place.to_owned(), it.is_some()));
            }
            let pods = match scope.namespace {
                Some(place) => Api::<Pod>::namespaced(client.clone(), place),
                None => Api::<Pod>::all(client.clone()),
            };
            let meshed = format!("linkerd.io/control-plane-ns={}", scope.globals.linkerd_namespace);
            let pods = self.list(pods, &ListParams::default().labels(&meshed), "list meshed pods").await;
            let meshed = |pod: &Pod| PodSeen::from_pod(pod).filter(|pod| pod.proxy.is_some());
            seen.data_plane = pods.map(|it| it.iter().filter_map(meshed).collect());
        }
        // A pod that is not there needs no connection to be missed.
        let pods = seen.pods.as_ref().is_ok_and(Vec::is_empty);
        if scope.globals.api_addr.is_some() || !pods {
            seen.api = ask(scope.globals, namespace, seen.namespace_only()).await;
        }
    }

    async fn namespaces(&self, label: &str) -> Looked<Vec<String>> {
        let labelled = ListParams::default().labels(label);
        let namespaces =
            self.list(Api::<Namespace>::all(self.client.clone()), &labelled, "list namespaces").await?;
        Ok(namespaces.iter().map(ResourceExt::name_any).collect())
    }

    /// `linkerdVersion` of the control plane.
    async fn linkerd_version(&self, namespace: &str) -> Looked<Option<Option<String>>> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let doing = format!("get ConfigMap linkerd-config in namespace {namespace}");
        let map = self.step(&doing, maps.get_opt("linkerd-config")).await?;
        Ok(map.map(|map| map.data.as_ref()?.get("values").and_then(|values| linkerd_version(values))))
    }

    async fn trust_roots(&self, namespace: &str) -> Looked<Option<Vec<TrustRoot>>> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let doing = format!("get ConfigMap linkerd-identity-trust-roots in namespace {namespace}");
        let map = self.step(&doing, maps.get_opt("linkerd-identity-trust-roots")).await?;
        let bundle =
            |map: ConfigMap| map.data.unwrap_or_default().remove("ca-bundle.crt").unwrap_or_default();
        Ok(map.map(|map| TrustRoot::of_bundle(&bundle(map))))
    }

    async fn crds(&self) -> Looked<BTreeMap<String, Option<String>>> {
        // Their schemas are megabytes, and only names and annotations are of use.
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let all = ListParams::default();
        let list = self.step("list CustomResourceDefinitions", crds.list_metadata(&all)).await?;
        let row = |crd: &kube::core::PartialObjectMeta<CustomResourceDefinition>| {
            (crd.name_any(), crd.annotations().get(BUNDLE_VERSION).cloned())
        };
        Ok(list.items.iter().map(row).collect())
    }

    async fn missing_to_install(&self, documents: &[Document]) -> Looked<Vec<String>> {
        self.missing(rights::to_create(documents), |right| async move {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(right),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
            let answer =
                self.step("ask for your own rights", reviews.create(&PostParams::default(), &review)).await?;
            Ok(answer.status.is_some_and(|status| status.allowed))
        })
        .await
    }

    /// Kinds and namespaces of the documents that are not in the cluster. Those of Linkerd have checks of their own.
    async fn lacking(&self, documents: &[Document], seen: &Seen) -> Looked<Vec<String>> {
        let needs = needs::of(documents, &seen.linkerd_namespace);
        let mut lacking = Vec::new();
        if !needs.crds.is_empty() {
            let crds = seen.crds.as_ref().map_err(Clone::clone)?;
            let missing = needs.crds.iter().filter(|name| !crds.contains_key(*name));
            lacking.extend(missing.map(|name| format!("CustomResourceDefinition {name}")));
        }
        let namespaces = Api::<Namespace>::all(self.client.clone());
        for name in &needs.namespaces {
            if self.step("get namespaces", namespaces.get_opt(name)).await?.is_none() {
                lacking.push(format!("Namespace {name}"));
            }
        }
        Ok(lacking)
    }

    async fn may(&self, account: &str, groups: &[String], right: ResourceAttributes) -> Looked<bool> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(account.to_owned()),
                groups: Some(groups.to_vec()),
                resource_attributes: Some(right),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = self
            .step("ask for the controller's rights", reviews.create(&PostParams::default(), &review))
            .await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Those rights that are not had, in words.
    async fn missing<F>(
        &self,
        rights: Vec<ResourceAttributes>,
        may: impl Fn(ResourceAttributes) -> F,
    ) -> Looked<Vec<String>>
    where
        F: Future<Output = Looked<bool>>,
    {
        let words = rights.iter().map(rights::words).collect::<Vec<_>>();
        let may = &may;
        let asked = stream::iter(rights.into_iter().zip(words))
            .map(|(right, words)| async move { Ok((may(right).await?, words)) })
            .buffered(REVIEWS);
        let missing = asked.try_filter_map(|(may, words)| async move { Ok((!may).then_some(words)) });
        missing.try_collect().await
    }

    /// All of a list, page by page.
    async fn list<K>(&self, api: Api<K>, which: &ListParams, doing: &str) -> Looked<Vec<K>>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut which = which.clone().limit(PAGE);
        let mut items = Vec::new();
        for _ in 0..MOST_PAGES {
            let page = self.step(doing, api.list(&which)).await?;
            items.extend(page.items);
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => which = which.continue_token(&more),
                None => return Ok(items),
            }
        }
        Err(Gap::Failed(format!("could not {doing}: there are more than {}", items.len())))
    }

    async fn step<T>(&self, doing: &str, request: impl Future<Output = Result<T, kube::Error>>) -> Looked<T> {
        match timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(gap(&Error::kubernetes(&self.url, doing, error))),
            Err(_) => {
                let (url, seconds) = (self.url.to_string(), REQUEST_TIMEOUT.as_secs());
                Err(gap(&Error::Slow { url, seconds }))
            }
        }
    }
}

/// Asks the API how fresh its graph is, and whether the policy controller enforces what is written about our own pods.
async fn ask(globals: &Globals, namespace: &str, only: Option<&str>) -> Looked<ApiSeen> {
    // Named, so that no linkerd-mcp of this machine is taken for the cluster's.
    let globals = Globals { mcp_namespace: Some(namespace.to_owned()), ..globals.clone() };
    let mut mesh = client::connect(&globals).await.map_err(|error| gap(&error))?;
    // Who waits is the caller, for everything at once.
    mesh.patience = Duration::ZERO;
    // Who does not tell its version may still answer.
    let version = mesh.version().await.ok().flatten();
    let lint = |namespace: &str, enforced: bool| {
        mesh.lint_policies(LintPoliciesRequest { namespace: namespace.to_owned(), enforced })
    };
    let ours = only.unwrap_or(namespace);
    let freshness: Option<Freshness> = match lint(ours, false).await {
        Ok(answer) => answer.freshness,
        // It knows no such namespace: it is of another cluster, or has just begun.
        Err(Error::Answered { code: Code::NotFound, .. }) => {
            lint("", false).await.map_err(|error| gap(&error))?.freshness
        }
        Err(error) => return Err(gap(&error)),
    };
    let enforced = lint(ours, true).await.map(enforced).map_err(|error| words(&error));
    Ok(ApiSeen { version, freshness: freshness.unwrap_or_default(), enforced })
}

/// What the chart makes of its own values, and of viz where it is.
fn usual_documents(namespace: &str, seen: &Seen) -> Looked<Vec<Document>> {
    let mut set = Values::new();
    set_unless_set(&mut set, &["linkerdNamespace"], seen.linkerd_namespace.clone().into());
    if let Some(viz) = seen.viz.as_ref().ok().and_then(|viz| viz.iter().min()) {
        set_unless_set(&mut set, &["viz", "enabled"], true.into());
        set_unless_set(&mut set, &["viz", "namespace"], viz.clone().into());
    }
    install::render(set, namespace).map_err(|error| Gap::Failed(error.to_string()))
}

fn enforced(answer: LintPoliciesResponse) -> Enforced {
    let drift = answer.findings.into_iter().filter(|finding| finding.code == "drift");
    Enforced { compared: answer.compared, drift: drift.map(|finding| finding.text).collect() }
}

fn gap(error: &Error) -> Gap {
    match error {
        Error::Forbidden { .. } => Gap::Forbidden(words(error)),
        _ => Gap::Failed(words(error)),
    }
}

/// An error and its causes, each once.
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !words.contains(&said) {
            words.push_str(&format!(": {said}"));
        }
        cause = error.source();
    }
    words
}

fn key(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn binding(name: String, role: &RoleRef, subjects: Option<&[Subject]>) -> Binding {
    let accounts = subjects.unwrap_or_default().iter().filter(|subject| subject.kind == "ServiceAccount");
    let accounts = accounts
        .map(|subject| format!("{}/{}", subject.namespace.as_deref().unwrap_or_default(), subject.name));
    Binding { name, role: role.name.clone(), accounts: accounts.collect() }
}

/// The version in the control plane's Helm values.
fn linkerd_version(values: &str) -> Option<String> {
    let values: serde_yaml::Value = serde_yaml::from_str(values).ok()?;
    values.get("linkerdVersion")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_linkerd_is_in_its_values() {
        let values = "linkerdVersion: edge-26.8.3\nproxy:\n  image: {}\n";
        assert_eq!(linkerd_version(values).as_deref(), Some("edge-26.8.3"));
        assert_eq!(linkerd_version("{"), None);
        assert_eq!(linkerd_version("a: 1"), None);
    }
}
