//! One API server, Redis and controller for all tests, and for each test a namespace with a workload and its people.

use kube::{
    Api, Client,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use linkerd_mcp_api::{
    caller::{Principal, Proof},
    change::{Changes, Keep, Options, Refusal, metrics::ChangeMetrics},
    feed::redis::{FeedMetrics, RedisServer, RedisSubscription, SubscribeOptions},
    metrics::ApiMetrics,
    replica::{Replica, RingLimits},
};
use linkerd_mcp_feed::{End, Rights};
use linkerd_mcp_graph::wire;
use linkerd_mcp_proto::v1;
use linkerd_mcp_test::{
    apiserver::Credential,
    mesh,
    ours::{Controller, ControllerOptions},
    redis::Redis,
    rig::{self, Kubernetes},
    wait,
    web::{self, THREE},
};
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::OnceCell;

/// How long anything may take before the test fails. Long, because two cores are shared.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Whose requests in the audit log are ours.
pub(crate) const OURS: &str = "system:serviceaccount:linkerd-mcp-changes:mcp-api";

/// What all tests share.
struct Shared {
    kubernetes: &'static Kubernetes,
    redis: Redis,
    ours: Credential,
    /// Never stopped: it follows what the tests do.
    _controller: Controller,
}

/// A namespace with a workload `web` on port 8080, and what changes its policy.
pub(crate) struct Bench {
    pub(crate) kubernetes: &'static Kubernetes,
    pub(crate) redis: &'static Redis,
    pub(crate) admin: Client,
    pub(crate) namespace: String,
    pub(crate) replica: Replica,
    pub(crate) changes: Changes,
    ours: Client,
}

/// What the API itself may do, as in the chart.
const OWN_RIGHTS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: linkerd-mcp-changes}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: linkerd-mcp-changes-api}
rules:
  - {apiGroups: [policy.linkerd.io], resources: [authorizationpolicies, httproutes, meshtlsauthentications, networkauthentications, servers], verbs: [get, create, patch, delete]}
  - {apiGroups: [gateway.networking.k8s.io], resources: [grpcroutes, httproutes], verbs: [get, create, patch, delete]}
  - {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
  - {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: linkerd-mcp-changes-api}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: linkerd-mcp-changes-api}
subjects: [{kind: ServiceAccount, name: mcp-api, namespace: linkerd-mcp-changes}]
";

/// An editor, a viewer, and a planner who may plan and write nothing.
const NAMESPACE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: policies, namespace: NS}
rules:
  - {apiGroups: [policy.linkerd.io, gateway.networking.k8s.io], resources: ['*'], verbs: [create, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: changes, namespace: NS}
rules:
  - {apiGroups: [mcp.linkerd.io], resources: [plans], verbs: [create]}
  - {apiGroups: [mcp.linkerd.io], resources: [changes], verbs: [list, create, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: force, namespace: NS}
rules:
  - {apiGroups: [mcp.linkerd.io], resources: [changes], verbs: [force]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: policies, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: policies}
subjects: [{kind: ServiceAccount, name: editor, namespace: NS}, {kind: ServiceAccount, name: other, namespace: NS}, {kind: ServiceAccount, name: chief, namespace: NS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: changes, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: changes}
subjects: [{kind: ServiceAccount, name: editor, namespace: NS}, {kind: ServiceAccount, name: other, namespace: NS}, {kind: ServiceAccount, name: chief, namespace: NS}, {kind: ServiceAccount, name: planner, namespace: NS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: force, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: force}
subjects: [{kind: ServiceAccount, name: chief, namespace: NS}]
";

/// The ACL user of Redis that the API is.
pub(crate) const USER: &str = "changing";

async fn shared() -> &'static Shared {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async {
            let kubernetes = rig::shared_kubernetes().await.unwrap();
            let admin = kubernetes.client().await.unwrap();
            mesh::apply(&admin, OWN_RIGHTS).await.unwrap();
            let ours =
                kubernetes.apiserver.service_account("linkerd-mcp-changes", "mcp-api", &[]).await.unwrap();
            let redis = Redis::start(None).await.unwrap();
            let rule = Rights::new(End::Changes, wire::Names::default(), USER).rule();
            let rule = rule.split_whitespace().collect::<Vec<_>>().join(" ");
            redis.run::<()>(&format!("ACL SETUSER {USER} reset on >pw {rule}")).await.unwrap();
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

/// A replica of what the controller publishes.
pub(crate) async fn replica(redis: &Redis) -> Replica {
    let options = SubscribeOptions::new(RedisServer::new(redis.url()));
    let subscription = RedisSubscription::new(options, FeedMetrics::default()).unwrap();
    let replica = Replica::new(RingLimits::default(), ApiMetrics::register(&mut Registry::default()));
    let follower = replica.clone();
    tokio::spawn(async move { follower.follow(subscription).await });
    let mut ticks = replica.ticks();
    tokio::time::timeout(LIMIT, ticks.wait_for(|tick| tick.revision > 0)).await.unwrap().unwrap();
    replica
}

impl Bench {
    pub(crate) async fn new(name: &str) -> Self {
        let Shared { kubernetes, redis, ours, .. } = shared().await;
        let admin = kubernetes.client().await.unwrap();
        let namespace = kubernetes.apiserver.namespace(name, &[]).await.unwrap();
        mesh::apply(&admin, &[web::POD, NAMESPACE].concat().replace("NS", &namespace)).await.unwrap();
        let ours = kubernetes.apiserver.client_of(ours).await.unwrap();
        let replica = replica(redis).await;
        let bench = Self {
            kubernetes,
            redis,
            admin,
            changes: changes(&ours, redis, &replica, |options| options),
            namespace,
            replica,
            ours,
        };
        let pod = format!("{}/pod/web", bench.namespace);
        let known = wait::until("the graph has the pod", LIMIT, async || {
            bench.replica.view()?.graph.workloads.keys().any(|id| id.as_str() == pod).then_some(())
        });
        known.await.unwrap();
        // The authorizer hears of a RoleBinding a moment after it is there.
        let asked = v1::ListChangesRequest { namespace: bench.namespace.clone(), ..Default::default() };
        let allowed = wait::until("the editor may list changes", LIMIT, async || {
            bench.changes.list(&bench.who("editor"), asked.clone()).await.ok()
        });
        allowed.await.unwrap();
        let asked = bench.request(THREE);
        let asked = v1::PlanChangeRequest { simulate_only: true, ..asked };
        let allowed = wait::until("the editor may write", LIMIT, async || {
            let planned = bench.changes.plan(&bench.who("editor"), asked.clone()).await.ok()?;
            (!planned.notes.iter().any(|it| it.contains("could not be applied"))).then_some(())
        });
        allowed.await.unwrap();
        bench
    }

    /// Another replica of the same API, with other options.
    pub(crate) fn another(&self, options: impl FnOnce(Options) -> Options) -> Changes {
        changes(&self.ours, self.redis, &self.replica, options)
    }

    /// The options of the API here.
    pub(crate) fn options(&self, options: impl FnOnce(Options) -> Options) -> Options {
        options(base(&self.ours, self.redis))
    }

    /// A ServiceAccount of the namespace, proved by a token.
    pub(crate) fn who(&self, name: &str) -> Principal {
        let identity = format!("system:serviceaccount:{}:{name}", self.namespace);
        Principal::service_account(&self.namespace, name, &identity, Proof::Token)
    }

    /// A plan of this manifest in the namespace.
    pub(crate) fn request(&self, manifest: &str) -> v1::PlanChangeRequest {
        v1::PlanChangeRequest {
            manifest: manifest.to_owned(),
            namespace: self.namespace.clone(),
            ..v1::PlanChangeRequest::default()
        }
    }

    /// The editor's plan of a manifest; it must be one that can be applied.
    pub(crate) async fn planned(&self, manifest: &str) -> v1::PlanChangeResponse {
        let planned = self.changes.plan(&self.who("editor"), self.request(manifest)).await.unwrap();
        assert!(!planned.plan.is_empty(), "{:#?}", planned.concerns);
        planned
    }

    /// The editor applies what the editor has planned.
    pub(crate) async fn apply(
        &self,
        plan: &v1::PlanChangeResponse,
    ) -> Result<v1::ApplyPlanResponse, Refusal> {
        self.changes.apply(&self.who("editor"), approval(plan)).await
    }

    /// Plans and applies a manifest as the editor.
    pub(crate) async fn applied(&self, manifest: &str) -> v1::ApplyPlanResponse {
        let plan = self.planned(manifest).await;
        let applied = self.apply(&plan).await.unwrap();
        assert!(applied.accepted, "{applied:#?}");
        applied
    }

    /// The editor undoes a change.
    pub(crate) async fn rolled_back(&self, change: &str) -> Result<v1::RollbackChangeResponse, Refusal> {
        let asked = v1::RollbackChangeRequest { change_id: change.to_owned(), reason: String::new() };
        self.changes.rollback(&self.who("editor"), asked).await
    }

    /// What is known of one change.
    pub(crate) async fn change(&self, id: &str) -> v1::Change {
        let asked = v1::ListChangesRequest {
            namespace: self.namespace.clone(),
            change_id: id.to_owned(),
            ..Default::default()
        };
        let mut listed = self.changes.list(&self.who("editor"), asked).await.unwrap().changes;
        assert_eq!(listed.len(), 1, "{id}");
        listed.remove(0)
    }

    /// Objects of a kind, as an administrator sees them.
    pub(crate) fn objects(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.admin.clone(), &self.namespace, &resource)
    }

    pub(crate) fn servers(&self) -> Api<DynamicObject> {
        self.objects("policy.linkerd.io", "v1beta3", "Server")
    }

    /// One Server; none when there is none.
    pub(crate) async fn server(&self, name: &str) -> Option<DynamicObject> {
        self.servers().get_opt(name).await.unwrap()
    }

    /// Applies objects as somebody else would, with kubectl.
    pub(crate) async fn kubectl(&self, manifest: &str) {
        let documents = mesh::documents(manifest).unwrap().into_iter().map(|mut object| {
            object.metadata.namespace = Some(self.namespace.clone());
            serde_yaml::to_string(&object).unwrap()
        });
        mesh::apply(&self.admin, &documents.collect::<Vec<_>>().join("---\n")).await.unwrap();
    }

    /// What linkerd-mcp has written in the namespace, by the API server's audit log: no tries, no reads.
    pub(crate) fn writes(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.kubernetes.apiserver.audit_log()).unwrap();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let mut writes = Vec::new();
        for line in whole.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let object = &event["objectRef"];
            let verb = event["verb"].as_str().unwrap_or_default();
            let tried = event["requestURI"].as_str().unwrap_or_default().contains("dryRun=All");
            let policy = ["policy.linkerd.io", "gateway.networking.k8s.io"]
                .contains(&object["apiGroup"].as_str().unwrap_or_default());
            let wrote = ["create", "update", "patch", "delete"].contains(&verb);
            if event["user"]["username"] == OURS
                && object["namespace"] == self.namespace.as_str()
                && policy
                && wrote
                && !tried
            {
                let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
                let code = &event["responseStatus"]["code"];
                writes.push(format!("{verb} {}/{} {code}", text("resource"), text("name")));
            }
        }
        writes
    }

    /// The ids of all policies of the namespace in the graph.
    pub(crate) fn in_graph(&self) -> BTreeSet<String> {
        let view = self.replica.view().unwrap();
        let policies = view.graph.policies.keys().filter(|id| id.namespace() == self.namespace);
        let authorizations = view.graph.auth_policies.keys().filter(|id| id.namespace() == self.namespace);
        policies
            .map(|id| id.to_string())
            .chain(authorizations.map(|id| format!("authorizationpolicy/{id}")))
            .collect()
    }
}

/// What ApplyPlan wants.
pub(crate) fn approval(plan: &v1::PlanChangeResponse) -> v1::ApplyPlanRequest {
    v1::ApplyPlanRequest { plan: plan.plan.clone(), reason: "a test".to_owned(), guard: None }
}

fn base(client: &Client, redis: &Redis) -> Options {
    let server = RedisServer::new(format!("redis://{USER}:pw@{}", redis.address()));
    let keep = Keep::Redis { server: Box::new(server), prefix: String::new() };
    Options { keep, look_every: Duration::from_millis(50), ..Options::kubernetes(client.clone()) }
}

fn changes(
    client: &Client,
    redis: &Redis,
    replica: &Replica,
    options: impl FnOnce(Options) -> Options,
) -> Changes {
    Changes::new(options(base(client, redis)), replica.clone(), ChangeMetrics::default()).unwrap()
}
