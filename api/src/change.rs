//! Changes of policy: plan, approve, apply, roll back.
//!
//! ```text
//! manifest ─► stream ─► graph::change::Manifest ─┐
//! live object, dry run ◄── cluster ──► Edit ─────┴─► graph::change::assess ─► plan ─► token
//! token ─► seal ─► same caller, same payload, same versions ─► store (what was there) ─► cluster ─► store (what came of it)
//! change id ─► store ─► as it was left? ─► cluster        guard ─► new numbers ─► the same, by itself
//! ```
//!
//! Start at [`Changes`]; gRPC, HTTP, the MCP tools and the CLI are all on it. What a change would do is decided in
//! [`crate::graph::change`]; here is what reads and writes. Nothing is written without a plan, a plan is used once, and
//! nobody gets to do here what Kubernetes does not let them do.

mod apply;
mod audit;
mod by_kind;
mod cluster;
pub(crate) mod describe;
mod event;
pub mod guard;
mod list;
mod message;
pub mod metrics;
mod plan;
mod propose;
mod record;
mod refusal;
mod rollback;
mod seal;
mod store;
mod stream;
mod target;
mod write;

pub use cluster::{Fault as ClusterFault, Held};
pub(crate) use refusal::Fault;
pub use refusal::Refusal;
pub use store::Error as StoreError;

use crate::{
    audit::{Audit, Trace},
    authorization::Granted,
    caller::Principal,
    graph::policy::ask::Mesh,
    replica::Replica,
    rights::{Deed, GROUP, Rights, Scope, Verdict},
    view::View,
};
use cluster::Cluster;
use linkerd_mcp_feed::{RedisFault, RedisServer};
use linkerd_mcp_proto::v1;
use metrics::ChangeMetrics;
use std::{fmt, sync::Arc, time::Duration};
use store::{Redis, Store};

/// How changes are made. The default changes nothing in any cluster and trusts whoever reaches this process.
#[derive(Clone)]
pub struct Options {
    /// The API server; without one plans are simulated and nothing can be applied.
    pub kubernetes: Option<kube::Client>,
    /// Who may do what.
    pub rights: Rights,
    /// Take a request without a [`Principal`] for one of whoever uses this machine: for a process whose only listener
    /// that changes anything is of that machine alone.
    pub anybody: bool,
    /// What writes down who did what.
    pub audit: Audit,
    /// Where plans and changes are kept.
    pub keep: Keep,
    /// Refuse to change anything.
    pub read_only: bool,
    /// How long a plan is good; at most five minutes.
    pub lifetime: Duration,
    /// How often guards look, when no new numbers wake them.
    pub look_every: Duration,
    /// What this process is called in events and leases.
    pub instance: String,
}

/// Where plans and changes are kept.
#[derive(Debug, Clone)]
pub enum Keep {
    /// In this process.
    Memory,
    /// In Redis, for all replicas.
    Redis {
        /// Where it is.
        server: Box<RedisServer>,
        /// What stands before all keys.
        prefix: String,
    },
}

/// Plans, applies and undoes changes. Cloning shares it.
#[derive(Clone)]
pub struct Changes {
    inner: Arc<Inner>,
    /// Of the request that is being answered.
    trace: Option<Trace>,
    /// Where its caller may do what it asks.
    scope: Scope,
}

struct Inner {
    replica: Replica,
    cluster: Option<Cluster>,
    rights: Rights,
    anybody: bool,
    audit: Audit,
    store: Store,
    read_only: bool,
    lifetime: Duration,
    look_every: Duration,
    instance: String,
    metrics: ChangeMetrics,
}

/// What a person did not confirm, by its public name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unconfirmed<'a> {
    /// That a plan is applied.
    Plan(&'a str),
    /// That a change is undone.
    Change(&'a str),
}

/// A plan is good for this long at most.
const LONGEST: Duration = Duration::from_secs(300);

/// The most bytes of a request about changes: a manifest of the most bytes, and what is around it.
pub(crate) const MAX_REQUEST: usize = stream::MAX_BYTES + (64 << 10);

// === impl Options ===

impl Options {
    /// Callers' rights are those that the API server gives them.
    pub fn kubernetes(client: kube::Client) -> Self {
        let rights = Rights::kubernetes(client.clone());
        Self { kubernetes: Some(client), rights, anybody: false, ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kubernetes: None,
            rights: Rights::machine(),
            anybody: true,
            audit: Audit::default(),
            keep: Keep::Memory,
            read_only: false,
            lifetime: LONGEST,
            look_every: Duration::from_secs(5),
            instance: format!("{}-{:08x}", std::process::id(), rand::random::<u32>()),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("kubernetes", &self.kubernetes.is_some())
            .field("rights", &self.rights)
            .field("anybody", &self.anybody)
            .field("keep", &self.keep)
            .field("read_only", &self.read_only)
            .field("lifetime", &self.lifetime)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

// === impl Changes ===

impl Changes {
    /// Changes as `options` say, judged by what `replica` knows.
    ///
    /// # Errors
    ///
    /// When the URL of Redis cannot be used.
    pub fn new(options: Options, replica: Replica, metrics: ChangeMetrics) -> Result<Self, RedisFault> {
        let Options { kubernetes, rights, anybody, audit, keep, read_only, lifetime, look_every, instance } =
            options;
        let store = match keep {
            Keep::Memory => Store::memory(),
            Keep::Redis { server, prefix } => Store::Redis(Arc::new(Redis::new(*server, &prefix)?)),
        };
        let (cluster, lifetime) = (kubernetes.map(Cluster::new), lifetime.min(LONGEST));
        let inner = Inner {
            replica,
            cluster,
            rights,
            anybody,
            audit,
            store,
            read_only,
            lifetime,
            look_every,
            instance,
            metrics,
        };
        Ok(Self { inner: Arc::new(inner), trace: None, scope: Scope::All })
    }

    /// The same for one request: its lines in the audit log have its trace, and its answers name what its caller may know.
    #[must_use]
    pub(crate) fn answering(&self, granted: &Granted) -> Self {
        Self { inner: self.inner.clone(), trace: Some(granted.trace), scope: granted.scope.clone() }
    }

    fn trace(&self) -> Trace {
        self.trace.unwrap_or_default()
    }

    /// Who asks, as the listener has proved it.
    ///
    /// # Errors
    ///
    /// When nobody is proven to ask.
    pub fn caller(&self, extensions: &http::Extensions) -> Result<Principal, Refusal> {
        self.known(extensions.get::<Principal>().cloned())
    }

    /// The same of what was found there.
    pub(crate) fn known(&self, who: Option<Principal>) -> Result<Principal, Refusal> {
        match who {
            Some(who) => Ok(who),
            None if self.inner.anybody => Ok(Principal::machine()),
            None => Err(Refusal::Nobody),
        }
    }

    /// Says what a change would do, and gives the plan to apply it with. Nothing is written.
    ///
    /// # Errors
    ///
    /// When the request is wrong, or the caller may not, or nobody can tell.
    pub async fn plan(
        &self,
        who: &Principal,
        asked: v1::PlanChangeRequest,
    ) -> Result<v1::PlanChangeResponse, Refusal> {
        let planned = plan::plan(&self.inner, who, &asked, &self.scope).await;
        self.inner.metrics.planned(&planned, asked.simulate_only);
        audit::planned(&self.inner, who, &planned, self.trace());
        planned
    }

    /// What a plan would do, for the person who approves it. The plan stays as it is.
    ///
    /// # Errors
    ///
    /// When it is not there, or is not the caller's.
    pub(crate) async fn describe(&self, who: &Principal, plan: &str) -> Result<describe::Planned, Refusal> {
        let planned = describe::planned(&self.inner, who, plan).await;
        if let Err(refusal) = &planned {
            audit::refused(&self.inner, who, "ApplyPlan", refusal, self.trace());
        }
        planned
    }

    /// Writes down that a person was to confirm something and did not, or could not be asked.
    pub(crate) fn unconfirmed(&self, who: &Principal, what: Unconfirmed<'_>, why: &impl fmt::Display) {
        audit::unconfirmed(&self.inner, who, what, why, self.trace());
    }

    /// One change that the caller may see, for the person who approves that it is undone.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(crate) async fn find(&self, who: &Principal, change_id: &str) -> Result<v1::Change, Refusal> {
        let found = self.look_up(who, change_id).await;
        if let Err(refusal) = &found {
            audit::refused(&self.inner, who, "RollbackChange", refusal, self.trace());
        }
        found
    }

    async fn look_up(&self, who: &Principal, change_id: &str) -> Result<v1::Change, Refusal> {
        if change_id.is_empty() {
            return Err(Refusal::Invalid("name the change; ListChanges has them".to_owned()));
        }
        let change_id = change_id.to_owned();
        let asked = v1::ListChangesRequest { change_id, ..v1::ListChangesRequest::default() };
        let found = list::list(&self.inner, who, &asked).await?.changes.pop();
        found.ok_or_else(|| {
            Refusal::NotFound(
                "there is no such change, or you may not see it; ListChanges has them".to_owned(),
            )
        })
    }

    /// Applies a plan. The plan is used up, whatever comes of it. What is begun is brought to its end even when nobody
    /// waits for it any more.
    ///
    /// # Errors
    ///
    /// When nothing was written. What the API server refuses while writing is in the answer.
    pub async fn apply(
        &self,
        who: &Principal,
        asked: v1::ApplyPlanRequest,
    ) -> Result<v1::ApplyPlanResponse, Refusal> {
        self.approve(who, asked, apply::Only::default()).await
    }

    async fn approve(
        &self,
        who: &Principal,
        asked: v1::ApplyPlanRequest,
        only: apply::Only,
    ) -> Result<v1::ApplyPlanResponse, Refusal> {
        let trace = self.trace();
        let applied = apply::apply(&self.inner, who, asked, only, trace).await;
        self.inner.metrics.applied(&applied);
        if let Err(refusal) = &applied {
            audit::refused(&self.inner, who, "ApplyPlan", refusal, trace);
        }
        applied
    }

    /// Puts back what was there before a change, if nobody has changed it since.
    ///
    /// # Errors
    ///
    /// When nothing was written.
    pub async fn rollback(
        &self,
        who: &Principal,
        asked: v1::RollbackChangeRequest,
    ) -> Result<v1::RollbackChangeResponse, Refusal> {
        let trace = self.trace();
        let rolled_back = rollback::rollback(&self.inner, who, asked, trace).await;
        self.inner.metrics.rolled_back(&rolled_back);
        if let Err(refusal) = &rolled_back {
            audit::refused(&self.inner, who, "RollbackChange", refusal, trace);
        }
        rolled_back
    }

    /// The changes that the caller may see, the newest first.
    ///
    /// # Errors
    ///
    /// When the caller may not see any, or they cannot be read.
    pub async fn list(
        &self,
        who: &Principal,
        asked: v1::ListChangesRequest,
    ) -> Result<v1::ListChangesResponse, Refusal> {
        list::list(&self.inner, who, &asked).await
    }

    /// The least policy that lets in what is seen.
    ///
    /// # Errors
    ///
    /// When the caller may not, or the target is not there.
    pub async fn propose(
        &self,
        who: &Principal,
        asked: v1::ProposePolicyRequest,
    ) -> Result<v1::ProposePolicyResponse, Refusal> {
        propose::propose(&self.inner, who, asked).await
    }

    /// Plans, or with a plan applies, authorizations and what they refer to.
    ///
    /// # Errors
    ///
    /// Those of [`Changes::plan`] and [`Changes::apply`], and when something else is in it.
    pub async fn apply_authorization_policy(
        &self,
        who: &Principal,
        asked: v1::ApplyAuthorizationPolicyRequest,
    ) -> Result<v1::ApplyAuthorizationPolicyResponse, Refusal> {
        by_kind::authorization_policy(self, who, asked).await
    }

    /// Plans, or with a plan applies, routes.
    ///
    /// # Errors
    ///
    /// Those of [`Changes::plan`] and [`Changes::apply`], and when something else is in it.
    pub async fn apply_http_route(
        &self,
        who: &Principal,
        asked: v1::ApplyHttpRouteRequest,
    ) -> Result<v1::ApplyHttpRouteResponse, Refusal> {
        by_kind::http_route(self, who, asked).await
    }

    /// Watches the changes that are guarded, for ever. Cancel by dropping.
    pub async fn guard(self) {
        guard::run(&self.inner).await;
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("read_only", &self.inner.read_only).finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    fn view(&self) -> Result<Arc<View>, Refusal> {
        self.replica.view().ok_or(Refusal::NotReady)
    }

    /// The API server to write to.
    fn cluster(&self) -> Result<&Cluster, Refusal> {
        if self.read_only {
            return Err(Refusal::ReadOnly);
        }
        self.cluster.as_ref().ok_or(Refusal::NoCluster)
    }

    async fn ask<T: Send + 'static>(
        &self,
        view: &Arc<View>,
        question: impl FnOnce(&Mesh<'_>) -> T + Send + 'static,
    ) -> T {
        view.ask(question).await
    }

    /// Refuses what the caller may not do.
    async fn demand(&self, who: &Principal, deed: &Deed) -> Result<(), Refusal> {
        refused(who, deed, self.rights.decide(who, deed).await)
    }

    /// The same by what is so now and not by what was so a moment ago: for what is about to be written.
    async fn demand_anew(&self, who: &Principal, deed: &Deed) -> Result<(), Refusal> {
        refused(who, deed, self.rights.decide_anew(who, deed).await)
    }
}

fn refused(who: &Principal, deed: &Deed, verdict: Verdict) -> Result<(), Refusal> {
    let resource = match &*deed.group {
        "" => deed.resource.to_string(),
        group => format!("{}.{group}", deed.resource),
    };
    let (user, verb) = (who.user.to_string(), deed.verb.to_string());
    match verdict {
        Verdict::Allowed => Ok(()),
        Verdict::Denied => {
            let place = match &deed.namespace {
                Some(namespace) => format!("in namespace {namespace}"),
                None => "in all namespaces".to_owned(),
            };
            Err(Refusal::Forbidden { who: user, verb, resource, place })
        }
        Verdict::Undecided(why) => Err(Refusal::Undecided { who: user, verb, resource, why }),
    }
}

/// Something that is done with a virtual resource of ours in one namespace.
fn deed(verb: &'static str, resource: &'static str, namespace: &str) -> Deed {
    Deed {
        verb: verb.into(),
        group: GROUP.into(),
        resource: resource.into(),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: None,
    }
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
