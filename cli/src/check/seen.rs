//! What was seen of a cluster: values, all that checks decide on.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, ContainerStatus, Pod},
};
use kube::ResourceExt;
use linkerd_mcp_proto::v1::Freshness;
use std::collections::{BTreeMap, BTreeSet};
use x509_parser::pem::Pem;

/// The container that Linkerd injects.
const PROXY: &str = "linkerd-proxy";
const PROXY_VERSION: &str = "linkerd.io/proxy-version";

/// A value, or why there is none.
pub(crate) type Looked<T> = Result<T, Gap>;

/// Why something was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gap {
    /// Nobody looked: something before it failed, or it was not asked for.
    NotLooked,
    /// Whoever runs the command may not look.
    Forbidden(String),
    /// It could not be looked at.
    Failed(String),
}

/// Everything.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The version of Kubernetes, as in `v1.34.1`.
    pub(crate) kubernetes: Looked<String>,
    /// Namespaces with our label.
    pub(crate) namespaces: Looked<Vec<String>>,
    /// The namespace whose installation is looked at: the one given, else the first with our label.
    pub(crate) namespace: Option<String>,
    /// Where Linkerd is.
    pub(crate) linkerd_namespace: String,
    /// `linkerdVersion` in the ConfigMap `linkerd-config`; none inside when it is not said, none outside when there is
    /// no such ConfigMap.
    pub(crate) linkerd: Looked<Option<Option<String>>>,
    /// The trust roots of the mesh; none when there is no ConfigMap with them.
    pub(crate) trust_roots: Looked<Option<Vec<TrustRoot>>>,
    /// When all this was looked at, in seconds since the Unix epoch.
    pub(crate) now_s: i64,
    /// CustomResourceDefinitions by name, each with the version of the Gateway API that it is from.
    pub(crate) crds: Looked<BTreeMap<String, Option<String>>>,
    /// Of the ClusterRoles with our label, the names; and so on.
    pub(crate) cluster_roles: Looked<BTreeSet<String>>,
    pub(crate) cluster_role_bindings: Looked<Vec<Binding>>,
    /// As `namespace/name`.
    pub(crate) roles: Looked<BTreeSet<String>>,
    pub(crate) role_bindings: Looked<Vec<Binding>>,
    /// What the controller needs and may not do, as in `list servers.policy.linkerd.io`.
    pub(crate) missing_rights: Looked<Vec<String>>,
    /// Deployments with our label, by name.
    pub(crate) deployments: Looked<BTreeMap<String, DeploymentSeen>>,
    /// Pods with our label.
    pub(crate) pods: Looked<Vec<PodSeen>>,
    /// What the API said.
    pub(crate) api: Looked<ApiSeen>,
    /// The namespace that `-n` names, and whether it exists.
    pub(crate) data_plane_namespace: Looked<(String, bool)>,
    /// Meshed pods.
    pub(crate) data_plane: Looked<Vec<PodSeen>>,
    /// What whoever runs the command needs for an installation and may not create.
    pub(crate) missing_to_install: Looked<Vec<String>>,
    /// What the manifests need of a cluster and this one has not, as in `Namespace linkerd-viz`.
    pub(crate) lacking: Looked<Vec<String>>,
    /// Namespaces of linkerd-viz.
    pub(crate) viz: Looked<Vec<String>>,
}

/// A certificate that others are verified against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustRoot {
    pub(crate) subject: String,
    /// Seconds since the Unix epoch, and so below.
    pub(crate) not_before_s: i64,
    pub(crate) not_after_s: i64,
}

/// Who a role is given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding {
    /// `name`, or `namespace/name`.
    pub(crate) name: String,
    /// The role's name.
    pub(crate) role: String,
    /// ServiceAccounts, as `namespace/name`.
    pub(crate) accounts: Vec<String>,
}

/// One Deployment of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeploymentSeen {
    pub(crate) wanted: i32,
    pub(crate) available: i32,
    /// `--namespace-only` of its container.
    pub(crate) namespace_only: Option<String>,
    /// What its variable `LINKERD_MCP_REDIS_URL` holds, where it is no secret.
    pub(crate) redis_url: Option<String>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodSeen {
    /// `namespace/name`.
    pub(crate) name: String,
    pub(crate) phase: String,
    /// Containers that should be ready and are not, each with the reason where there is one. Native sidecars too.
    pub(crate) unready: Vec<String>,
    pub(crate) proxy: Option<ProxySeen>,
    /// Why it is not ready, in its own words.
    pub(crate) says: Option<String>,
}

/// The proxy of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxySeen {
    pub(crate) ready: bool,
    pub(crate) version: Option<String>,
}

/// What the API said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiSeen {
    /// Its version, where it says one.
    pub(crate) version: Option<String>,
    pub(crate) freshness: Freshness,
    /// How many ports of ours were compared with what Linkerd's policy controller enforces, and what differs.
    pub(crate) enforced: Result<Enforced, String>,
}

/// A comparison with the policy controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Enforced {
    pub(crate) compared: u32,
    pub(crate) drift: Vec<String>,
}

// === impl TrustRoot ===

impl TrustRoot {
    /// The certificates of a bundle of PEM; what is none is left out.
    pub(crate) fn of_bundle(pem: &str) -> Vec<Self> {
        let blocks = Pem::iter_from_buffer(pem.as_bytes()).filter_map(Result::ok);
        let roots = blocks.filter_map(|block| {
            let certificate = block.parse_x509().ok()?;
            let validity = certificate.validity();
            Some(Self {
                subject: certificate.subject().to_string(),
                not_before_s: validity.not_before.timestamp(),
                not_after_s: validity.not_after.timestamp(),
            })
        });
        roots.collect()
    }
}

// === impl Seen ===

impl Seen {
    /// Before anybody has looked.
    pub(crate) fn nothing(linkerd_namespace: &str) -> Self {
        Self {
            kubernetes: Err(Gap::NotLooked),
            namespaces: Err(Gap::NotLooked),
            namespace: None,
            linkerd_namespace: linkerd_namespace.to_owned(),
            linkerd: Err(Gap::NotLooked),
            trust_roots: Err(Gap::NotLooked),
            now_s: 0,
            crds: Err(Gap::NotLooked),
            cluster_roles: Err(Gap::NotLooked),
            cluster_role_bindings: Err(Gap::NotLooked),
            roles: Err(Gap::NotLooked),
            role_bindings: Err(Gap::NotLooked),
            missing_rights: Err(Gap::NotLooked),
            deployments: Err(Gap::NotLooked),
            pods: Err(Gap::NotLooked),
            api: Err(Gap::NotLooked),
            data_plane_namespace: Err(Gap::NotLooked),
            data_plane: Err(Gap::NotLooked),
            missing_to_install: Err(Gap::NotLooked),
            lacking: Err(Gap::NotLooked),
            viz: Err(Gap::NotLooked),
        }
    }

    /// The only namespace that the controller watches, where it watches one.
    pub(crate) fn namespace_only(&self) -> Option<&str> {
        self.deployments.as_ref().ok()?.get("mcp-controller")?.namespace_only.as_deref()
    }

    /// The version of the control plane.
    pub(crate) fn linkerd_version(&self) -> Option<&str> {
        self.linkerd.as_ref().ok()?.as_ref()?.as_deref()
    }
}

// === impl DeploymentSeen ===

impl DeploymentSeen {
    pub(crate) fn from_deployment(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let containers =
            spec.and_then(|spec| spec.template.spec.as_ref()).map(|pod| pod.containers.as_slice());
        // The injector does not touch Deployments, so there is one container.
        let container = containers.and_then(<[Container]>::first);
        let args = container.and_then(|it| it.args.as_deref()).unwrap_or_default();
        let env = container.and_then(|it| it.env.as_deref()).unwrap_or_default();
        Self {
            wanted: spec.and_then(|spec| spec.replicas).unwrap_or(1),
            available: deployment
                .status
                .as_ref()
                .and_then(|status| status.available_replicas)
                .unwrap_or_default(),
            namespace_only: args
                .iter()
                .find_map(|arg| arg.strip_prefix("--namespace-only="))
                .map(str::to_owned),
            redis_url: env
                .iter()
                .find(|variable| variable.name == "LINKERD_MCP_REDIS_URL")
                .and_then(|it| it.value.clone()),
        }
    }
}

// === impl PodSeen ===

impl PodSeen {
    /// None for a pod that is done or going away.
    pub(crate) fn from_pod(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|it| it.phase.clone()).unwrap_or_else(|| "Unknown".to_owned());
        if pod.metadata.deletion_timestamp.is_some() || phase == "Succeeded" {
            return None;
        }
        let spec = pod.spec.as_ref();
        let usual = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        // A native sidecar is an init container that keeps running.
        let sidecars = init.iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
        let containers: Vec<&Container> = usual.iter().chain(sidecars).collect();
        let statuses = || {
            let usual = status.and_then(|it| it.container_statuses.as_deref()).unwrap_or_default();
            let init = status.and_then(|it| it.init_container_statuses.as_deref()).unwrap_or_default();
            usual.iter().chain(init)
        };
        let of = |name: &str| statuses().find(|status| status.name == name);
        let is_ready = |name: &str| of(name).is_some_and(|status| status.ready);
        let unready = containers.iter().filter(|it| !is_ready(&it.name)).map(|it| {
            match of(&it.name).and_then(waits_for) {
                Some(reason) => format!("{} ({reason})", it.name),
                None => it.name.clone(),
            }
        });
        let proxy = containers.iter().find(|it| it.name == PROXY).map(|it| ProxySeen {
            ready: is_ready(PROXY),
            version: pod.annotations().get(PROXY_VERSION).cloned().or_else(|| tag(it.image.as_deref()?)),
        });
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        Some(Self { name, unready: unready.collect(), proxy, phase, says: None })
    }
}

fn waits_for(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|it| it.reason.clone());
    waiting.or_else(|| state.terminated.as_ref().and_then(|it| it.reason.clone()))
}

/// The tag of an image, where it has one and no digest.
fn tag(image: &str) -> Option<String> {
    let name = image.rsplit('/').next()?;
    (!name.contains('@')).then(|| name.split_once(':').map(|(_, tag)| tag.to_owned())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    fn mk_pod(spec: Value, status: Value) -> Pod {
        from_value(json!({
            "metadata": {"name": "mcp-api-1", "namespace": "linkerd-mcp"}, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_proxy_is_found_as_container_and_as_native_sidecar() {
        let proxy = json!({"name": "linkerd-proxy", "image": "cr.l5d.io/linkerd/proxy:edge-26.8.3"});
        let mut native = proxy.clone();
        native["restartPolicy"] = json!("Always");
        let ready = |name: &str, ready: bool| json!({"name": name, "ready": ready, "image": "", "imageID": "", "restartCount": 0});
        let sidecar = mk_pod(
            json!({"containers": [{"name": "mcp-api"}], "initContainers": [{"name": "linkerd-init"}, native]}),
            json!({
                "phase": "Running",
                "containerStatuses": [ready("mcp-api", true)],
                "initContainerStatuses": [ready("linkerd-init", false), ready("linkerd-proxy", true)],
            }),
        );
        let expected = PodSeen {
            name: "linkerd-mcp/mcp-api-1".into(),
            phase: "Running".into(),
            unready: Vec::new(),
            proxy: Some(ProxySeen { ready: true, version: Some("edge-26.8.3".into()) }),
            says: None,
        };
        assert_eq!(PodSeen::from_pod(&sidecar), Some(expected.clone()));
        let mut failing = ready("linkerd-proxy", false);
        failing["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let usual = mk_pod(
            json!({"containers": [proxy, {"name": "mcp-api"}]}),
            json!({"phase": "Running", "containerStatuses": [ready("mcp-api", true), failing]}),
        );
        assert_eq!(
            PodSeen::from_pod(&usual),
            Some(PodSeen {
                unready: vec!["linkerd-proxy (CrashLoopBackOff)".into()],
                proxy: Some(ProxySeen { ready: false, version: Some("edge-26.8.3".into()) }),
                ..expected
            })
        );
    }

    #[test]
    fn pods_that_are_done_or_go_away_do_not_count_and_a_pod_without_status_is_not_ready() {
        assert_eq!(
            PodSeen::from_pod(&mk_pod(json!({"containers": []}), json!({"phase": "Succeeded"}))),
            None
        );
        let mut going = mk_pod(json!({"containers": []}), json!({"phase": "Running"}));
        going.metadata.deletion_timestamp = from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(PodSeen::from_pod(&going), None);
        let new =
            PodSeen::from_pod(&mk_pod(json!({"containers": [{"name": "mcp-api"}]}), json!({}))).unwrap();
        assert_eq!(
            (new.phase.as_str(), new.unready, new.proxy),
            ("Unknown", vec!["mcp-api".to_owned()], None)
        );
    }

    #[test]
    fn a_digest_is_no_version() {
        assert_eq!(tag("registry:5000/linkerd/proxy:edge-26.8.3").as_deref(), Some("edge-26.8.3"));
        assert_eq!(tag("registry:5000/linkerd/proxy"), None);
        assert_eq!(tag("linkerd/proxy:edge-26.8.3@sha256:abc"), None);
    }

    #[test]
    fn the_settings_that_matter_are_read_from_a_deployment() {
        let deployment: Deployment = from_value(json!({
            "metadata": {"name": "mcp-controller"},
            "spec": {"replicas": 2, "selector": {}, "template": {"spec": {"containers": [{
                "name": "mcp-controller", "args": ["--lease=10s", "--namespace-only=shop"],
                "env": [{"name": "LINKERD_MCP_REDIS_URL", "value": "redis://mcp-redis.linkerd-mcp.svc.cluster.local:6379"}],
            }]}}},
            "status": {"availableReplicas": 1},
        }))
        .unwrap();
        assert_eq!(
            DeploymentSeen::from_deployment(&deployment),
            DeploymentSeen {
                wanted: 2,
                available: 1,
                namespace_only: Some("shop".into()),
                redis_url: Some("redis://mcp-redis.linkerd-mcp.svc.cluster.local:6379".into()),
            }
        );
    }
}
