//! One API server, Redis, controller and installation of the chart for all tests; for each test a namespace with its
//! people, and an API of its own behind all three listeners.

use super::{
    caller::{Caller, OWN, POD, account},
    lines,
};
use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
    core::{ApiResource, GroupVersionKind},
};
use linkerd_mcp_api::{
    Config,
    authorization::Authorization,
    caller::{Local, Mesh, Reviews, Tls, certify::Source, roots::Roots},
    change::{self, Keep},
    feed::redis::{FeedMetrics, RedisServer, RedisSubscription, SubscribeOptions},
    mcp,
    replica::Replica,
    rights::Rights,
};
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::{
    apiserver::Credential,
    certs::{self, Authority, Leaf},
    manifests, mesh,
    ours::{Controller, ControllerOptions},
    redis::Redis,
    rig::{self, Kubernetes},
    rights::{self, Place, Resource},
    wait,
    web::{self, THREE},
};
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{sync::OnceCell, task::JoinHandle};
use tonic::Status;

/// How long anything may take before the test fails. Long, because two cores are shared.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const AUDIENCE: &str = "linkerd-mcp";

/// The namespace that the chart is installed to.
const OURS: &str = "mcp-change-callers";

/// What all tests share.
struct Shared {
    kubernetes: &'static Kubernetes,
    redis: Redis,
    /// The ServiceAccount of the API, with the rights of the chart and no more.
    ours: Credential,
    /// Never stopped: it follows what the tests do.
    _controller: Controller,
}

/// A namespace with a workload `web` on port 8080, its people, and an API.
pub(crate) struct Bench {
    pub(crate) kubernetes: &'static Kubernetes,
    pub(crate) admin: Client,
    pub(crate) namespace: String,
    /// Whom the TLS listener trusts.
    pub(crate) authority: Authority,
    pub(crate) served: Served,
    redis: &'static Redis,
    ours: Client,
    dir: tempfile::TempDir,
}

/// The chart has Roles in it.
const LINKERD: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: linkerd}}";

/// Who may do what: `editor`, `other` and `gone` have the chart's role editor and rights to the objects;
/// `clerk` has that role and no rights to the objects; `viewer` has the chart's role viewer, and rights to the objects, so
/// that nothing but the role is in its way.
const NAMESPACE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: policies, namespace: NS}
rules:
  - {apiGroups: [policy.linkerd.io, gateway.networking.k8s.io], resources: ['*'], verbs: [create, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: policies, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: policies}
subjects: [{kind: ServiceAccount, name: editor, namespace: NS}, {kind: ServiceAccount, name: other, namespace: NS}, {kind: ServiceAccount, name: gone, namespace: NS}, {kind: ServiceAccount, name: viewer, namespace: NS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editors, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: linkerd-OURS-editor}
subjects: [{kind: ServiceAccount, name: editor, namespace: NS}, {kind: ServiceAccount, name: other, namespace: NS}, {kind: ServiceAccount, name: gone, namespace: NS}, {kind: ServiceAccount, name: clerk, namespace: NS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: viewers, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: linkerd-OURS-viewer}
subjects: [{kind: ServiceAccount, name: viewer, namespace: NS}]
";

/// What lands when [`THREE`] does.
pub(crate) const LANDED: [&str; 3] = [
    "patch meshtlsauthentications/clients 201",
    "patch authorizationpolicies/web 201",
    "patch servers/web 201",
];

async fn shared() -> &'static Shared {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let kubernetes = rig::shared_kubernetes().await.unwrap();
            let admin = kubernetes.client().await.unwrap();
            let chart = manifests::install(&["--mcp-namespace", OURS, "--set", "readOnly=false"]).unwrap();
            mesh::apply(&admin, LINKERD).await.unwrap();
            mesh::apply(&admin, &manifests::yaml(&chart)).await.unwrap();
            let account = rights::account(OURS, "mcp-api");
            for (verb, group, name) in [
                ("patch", "policy.linkerd.io", "servers"),
                ("create", "authentication.k8s.io", "tokenreviews"),
                ("create", "authorization.k8s.io", "subjectaccessreviews"),
            ] {
                let resource = Resource { group: group.to_owned(), name: name.to_owned(), namespaced: true };
                let anywhere = Place { namespace: String::new(), object: String::new() };
                let what = format!("the API may {verb} {name}");
                let may = wait::until(&what, LIMIT, async || {
                    rights::may(&admin, &account, verb, &resource, &anywhere).await.unwrap().then_some(())
                });
                may.await.unwrap();
            }
            let ours = kubernetes.apiserver.service_account(OURS, "mcp-api", &[]).await.unwrap();
            let redis = Redis::start(None).await.unwrap();
            let options = ControllerOptions {
                kubeconfig: kubernetes.apiserver.kubeconfig(),
                redis_url: redis.url(),
                prometheus_url: "http://127.0.0.1:1".to_owned(),
                more: Vec::new(),
            };
            let controller = Controller::start(&options).await.unwrap();
            Shared { kubernetes, redis, ours, _controller: controller }
        })
        .await
}

/// Where an API listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) local: SocketAddr,
    pub(crate) mesh: SocketAddr,
    pub(crate) tls: SocketAddr,
}

/// An API until it is dropped.
pub(crate) struct Served {
    pub(crate) at: Addresses,
    replica: Replica,
    registry: Arc<Registry>,
    task: JoinHandle<()>,
}

impl Bench {
    pub(crate) async fn new(name: &str) -> Self {
        certs::use_ring();
        lines::keep();
        let Shared { kubernetes, redis, ours, .. } = shared().await;
        let admin = kubernetes.client().await.unwrap();
        let namespace = kubernetes.apiserver.namespace(name, &[]).await.unwrap();
        let people = [web::POD, NAMESPACE].concat().replace("NS", &namespace).replace("OURS", OURS);
        mesh::apply(&admin, &people).await.unwrap();
        let ours = kubernetes.apiserver.client_of(ours).await.unwrap();
        let authority = Authority::new("mesh").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let own = authority.workload(Some(OWN), -60..3_600).unwrap();
        for (name, text) in [("roots.pem", authority.pem()), ("tls.crt", &own.cert), ("tls.key", &own.key)] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let served = serve(&ours, redis, dir.path(), |options| options).await;
        let bench = Self { kubernetes, admin, namespace, authority, redis, ours, dir, served };
        let pod = format!("{}/pod/web", bench.namespace);
        let known = wait::until("the graph has the pod", LIMIT, async || {
            bench.served.replica.view()?.graph.workloads.keys().any(|id| id.as_str() == pod).then_some(())
        });
        known.await.unwrap();
        // The authorizer hears of a RoleBinding a moment after it is there, and rights are remembered for some seconds.
        let editor = account(&bench, "editor").await;
        let asked = v1::PlanChangeRequest { simulate_only: true, ..bench.request(THREE) };
        let allowed = wait::until("the editor may write", LIMIT, async || {
            let planned = editor.client(&bench).plan_change(asked.clone()).await.ok()?.into_inner();
            (!planned.notes.iter().any(|it| it.contains("could not be applied"))).then_some(())
        });
        allowed.await.unwrap();
        // So long nobody is let in there.
        let over_tls = Caller::tls(&bench.authority, Some(&bench.certificate("editor")));
        let certified = wait::until("the API has its certificate", LIMIT, async || {
            over_tls.client(&bench).list_changes(v1::ListChangesRequest::default()).await.ok()
        });
        certified.await.unwrap();
        bench
    }

    /// Another replica of the API, of which changes have other options.
    pub(crate) async fn another(&self, options: impl FnOnce(change::Options) -> change::Options) -> Served {
        serve(&self.ours, self.redis, self.dir.path(), options).await
    }

    /// A certificate of the mesh for a ServiceAccount of the namespace.
    pub(crate) fn certificate(&self, name: &str) -> Leaf {
        self.authority.workload(Some(&super::caller::identity(self, name)), -60..3_600).unwrap()
    }

    /// A plan of this manifest in the namespace.
    pub(crate) fn request(&self, manifest: &str) -> v1::PlanChangeRequest {
        v1::PlanChangeRequest {
            manifest: manifest.to_owned(),
            namespace: self.namespace.clone(),
            ..v1::PlanChangeRequest::default()
        }
    }

    /// Plans a manifest over gRPC.
    pub(crate) async fn plan(
        &self,
        caller: &Caller,
        manifest: &str,
    ) -> Result<v1::PlanChangeResponse, Status> {
        Ok(caller.client(self).plan_change(self.request(manifest)).await?.into_inner())
    }

    /// A plan that can be applied.
    pub(crate) async fn planned(&self, caller: &Caller, manifest: &str) -> String {
        let planned = self.plan(caller, manifest).await.unwrap();
        assert!(!planned.plan.is_empty(), "{:#?}", planned.concerns);
        planned.plan
    }

    /// Applies a plan over gRPC.
    pub(crate) async fn apply(&self, caller: &Caller, plan: &str) -> Result<v1::ApplyPlanResponse, Status> {
        let asked = v1::ApplyPlanRequest { plan: plan.to_owned(), reason: "a test".to_owned(), guard: None };
        Ok(caller.client(self).apply_plan(asked).await?.into_inner())
    }

    /// Servers, as an administrator sees them.
    pub(crate) fn servers(&self) -> Api<DynamicObject> {
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("policy.linkerd.io", "v1beta3", "Server"));
        Api::namespaced_with(self.admin.clone(), &self.namespace, &resource)
    }

    /// What becomes of Servers from now on.
    pub(crate) async fn watch(&self) -> BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>> {
        let servers = self.servers();
        let now = servers.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        servers.watch(&WatchParams::default(), &now).await.unwrap().boxed()
    }

    /// What was written in the namespace by anybody but the administrator of the tests, by the API server's audit log.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.logged(false)
    }

    /// The same of what was only tried.
    pub(crate) fn tries(&self) -> Vec<String> {
        self.logged(true)
    }

    fn logged(&self, tries: bool) -> Vec<String> {
        let log = std::fs::read_to_string(self.kubernetes.apiserver.audit_log()).unwrap();
        // The last line may be in the middle of being written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let mut found = Vec::new();
        for line in whole.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let object = &event["objectRef"];
            let verb = event["verb"].as_str().unwrap_or_default();
            let tried = event["requestURI"].as_str().unwrap_or_default().contains("dryRun=All");
            let group = object["apiGroup"].as_str().unwrap_or_default();
            let policy = ["policy.linkerd.io", "gateway.networking.k8s.io"].contains(&group);
            let wrote = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
            if policy
                && wrote
                && tried == tries
                && object["namespace"] == self.namespace.as_str()
                && event["user"]["username"] != "admin"
            {
                let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
                let code = &event["responseStatus"]["code"];
                found.push(format!("{verb} {}/{} {code}", text("resource"), text("name")));
            }
        }
        found
    }

    /// The value of a metric of the API, 0 where there is none yet.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.served.registry).unwrap();
        let value = text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An API as the chart runs it, but in this process: rights, tokens and writes by the ServiceAccount `ours`.
async fn serve(
    ours: &Client,
    redis: &Redis,
    dir: &std::path::Path,
    options: impl FnOnce(change::Options) -> change::Options,
) -> Served {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let suffix = "linkerd.cluster.local";
    let server = RedisServer::new(redis.url());
    let keep = Keep::Redis { server: Box::new(server.clone()), prefix: String::new() };
    let config = Config {
        listen: any,
        admin_listen: None,
        local: Local::Token(Reviews { client: ours.clone(), audience: AUDIENCE.to_owned() }),
        mesh: Some(Mesh {
            ips: vec![POD.into()],
            port: 0,
            suffix: suffix.to_owned(),
            hosts: vec!["localhost".to_owned()],
            oauth: None,
        }),
        tls: Some(Tls {
            listen: any,
            suffix: suffix.to_owned(),
            hosts: vec!["localhost".to_owned()],
            roots: Roots::File(dir.join("roots.pem")),
            certificate: Source::Files { certificate: dir.join("tls.crt"), key: dir.join("tls.key") },
            look_every: Duration::from_millis(50),
            grace: Duration::from_secs(1),
        }),
        mcp: mcp::Options { calls_per_second: 0, ..mcp::Options::default() },
        authorization: Authorization::new(Rights::kubernetes(ours.clone())),
        changes: options(change::Options { keep, ..change::Options::kubernetes(ours.clone()) }),
        ..Config::default()
    };
    let mut registry = Registry::default();
    let api = linkerd_mcp_api::Api::bind(config, &mut registry).await.unwrap();
    let registry = Arc::new(registry);
    let at = Addresses { local: api.local_addr(), mesh: api.mesh_addrs()[0], tls: api.tls_addr().unwrap() };
    let subscription = RedisSubscription::new(SubscribeOptions::new(server), FeedMetrics::default()).unwrap();
    let (replica, mut ticks) = (api.replica().clone(), api.replica().ticks());
    let shown = registry.clone();
    let task = tokio::spawn(async move {
        api.serve(subscription, shown, std::future::pending()).await.unwrap();
    });
    tokio::time::timeout(LIMIT, ticks.wait_for(|tick| tick.revision > 0)).await.unwrap().unwrap();
    Served { at, replica, registry, task }
}

/// Waits until a watch tells of a Server `web` that was added or, for `None`, deleted; gives its port.
pub(crate) async fn told(
    watch: &mut BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>>,
    port: Option<u16>,
) {
    let told = tokio::time::timeout(LIMIT, async {
        loop {
            match (watch.next().await.unwrap().unwrap(), port) {
                (WatchEvent::Added(it) | WatchEvent::Modified(it), Some(port))
                    if it.data["spec"]["port"] == port =>
                {
                    return;
                }
                (WatchEvent::Deleted(_), None) => return,
                _ => {}
            }
        }
    });
    told.await.expect("the watch is told of it");
}
