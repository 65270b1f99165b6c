//! What callers may do: Kubernetes RBAC decides, asked by SubjectAccessReview for the caller.
//!
//! ```text
//! gRPC method, HTTP route, MCP tool ─► table ─► Need ─► Rights::scope ─► everywhere, in these namespaces, or not
//!                                                            └─► Rights::decide ─► cache ─► SubjectAccessReview
//! ```
//!
//! What is no object of Kubernetes (to see the graph, to plan a change) is a virtual resource of the group [`GROUP`], so
//! that Roles can name it. Who cannot be decided about is refused. What is enforced where is in
//! [`crate::authorization`].

use crate::caller::{Principal, Proof};
use cache::Cache;
use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::{Api, api::PostParams};
use linkerd_mcp_graph::id::Text;
use metrics::{From, RightsMetrics};
use scope::Key;
use std::{borrow::Cow, collections::BTreeSet, fmt, sync::Arc, time::Duration};
use table::{Need, Reach};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

mod cache;
pub mod metrics;
mod scope;
pub mod table;
#[cfg(test)]
mod tests;

pub use scope::Scope;

/// The group of what linkerd-mcp lets do and Kubernetes has no object of.
pub const GROUP: &str = "mcp.linkerd.io";

/// Something that a caller wants to do, in the words of RBAC.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deed {
    /// `get`, `list`, `watch`, `create`, `patch` or `delete`.
    pub verb: Cow<'static, str>,
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The resource, in the plural.
    pub resource: Cow<'static, str>,
    /// The namespace; none for all of them.
    pub namespace: Option<String>,
    /// The object; none for all of them.
    pub name: Option<String>,
}

/// What may be done, as decided for one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be done.
    Allowed,
    /// It may not.
    Denied,
    /// Nobody could decide, for this reason; it may not be done.
    Undecided(String),
}

/// Why something may be done nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barred {
    /// RBAC grants it nowhere.
    Denied,
    /// RBAC grants it in some namespaces, and it cannot be limited to these.
    OnlyInNamespaces,
    /// Nobody could decide, for this reason.
    Undecided(String),
}

/// Decides. Cloning shares it and what it remembers.
#[derive(Clone)]
pub struct Rights {
    judge: Judge,
    memory: Arc<Memory>,
    metrics: RightsMetrics,
}

#[derive(Clone)]
enum Judge {
    /// The API server.
    Kubernetes(kube::Client),
    /// Whoever uses the machine may do all that linkerd-mcp itself can do there; nobody else may do anything.
    Machine,
    /// Something else, for tests and benchmarks.
    Other(Arc<Decide>),
}

type Decide = dyn Fn(&Principal, &Deed) -> BoxFuture<'static, Verdict> + Send + Sync;

/// What was decided, and how many reviews may be under way.
struct Memory {
    decisions: Cache<(Key, Deed), Verdict>,
    scopes: Cache<(Key, Need), Result<Scope, Barred>>,
    places: Semaphore,
}

/// A decision stands for so long. A right that is taken away is gone after the first, one that is given is there after
/// the second.
const ALLOWED: Duration = Duration::from_secs(10);
const DENIED: Duration = Duration::from_secs(5);

/// An API server that does not answer is not asked the same again for so long.
const UNDECIDED: Duration = Duration::from_secs(1);

/// How long a review may take, waiting for its turn included.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reviews under way, of all callers together and for one caller's namespaces.
const AT_ONCE: usize = 64;
const AT_ONCE_OF_ONE: usize = 16;

/// The most namespaces that one caller's rights are asked for. What is beyond is not shown.
const MAX_NAMESPACES: usize = 2_000;

/// The most decisions that are remembered: some 5 MB.
const MAX_DECISIONS: usize = 16_384;
const MAX_SCOPES: usize = 2_048;

// === impl Rights ===

impl Rights {
    /// The API server decides; [`Principal::machine`], which only a listener says that was told to trust the machine, may do
    /// everything.
    pub fn kubernetes(client: kube::Client) -> Self {
        Self::new(Judge::Kubernetes(client))
    }

    /// For `serve` and `demo`: [`Principal::machine`] may do everything, nobody else anything.
    pub fn machine() -> Self {
        Self::new(Judge::Machine)
    }

    /// `decide` decides, in place of the API server: for tests and benchmarks.
    pub fn decided_by(
        decide: impl Fn(&Principal, &Deed) -> BoxFuture<'static, Verdict> + Send + Sync + 'static,
    ) -> Self {
        Self::new(Judge::Other(Arc::new(decide)))
    }

    fn new(judge: Judge) -> Self {
        let memory = Memory {
            decisions: Cache::new(MAX_DECISIONS),
            scopes: Cache::new(MAX_SCOPES),
            places: Semaphore::new(AT_ONCE),
        };
        Self { judge, memory: Arc::new(memory), metrics: RightsMetrics::default() }
    }

    /// What is counted of it, to be registered.
    pub fn metrics(&self) -> &RightsMetrics {
        &self.metrics
    }

    /// True when a request of nobody in particular is one of the machine's user.
    pub(crate) fn trusts_the_machine(&self) -> bool {
        matches!(self.judge, Judge::Machine)
    }

    /// May the caller do it? As decided now, or at most ten seconds ago.
    pub async fn decide(&self, who: &Principal, deed: &Deed) -> Verdict {
        self.decided(who, deed).await.0
    }

    /// May the caller do it? As decided now: for what is about to be written.
    pub async fn decide_anew(&self, who: &Principal, deed: &Deed) -> Verdict {
        if let Some(verdict) = self.without_review(who) {
            return verdict;
        }
        let (verdict, _) = Box::pin(self.reviewed(who, deed)).await;
        self.metrics.decided(&verdict, From::Judge);
        verdict
    }

    /// Where the caller may do what is needed: everywhere, or in which of `namespaces`, which are only asked for when
    /// it may not everywhere.
    ///
    /// # Errors
    ///
    /// When it may nowhere, or that could not be decided for one of them: then nothing is left out in silence.
    pub async fn scope(
        &self,
        who: &Principal,
        need: Need,
        namespaces: impl FnOnce() -> BTreeSet<Text> + Send,
    ) -> Result<Scope, Barred> {
        match self.without_review(who) {
            Some(Verdict::Allowed) => return Ok(Scope::All),
            Some(_) => return Err(Barred::Denied),
            None => {}
        }
        // Boxed, as is a review: it is large, rare, and a part of every request's future.
        let look = || Box::pin(self.look(who, need, namespaces));
        self.memory.scopes.get((Key::of(who), need), look).await.0
    }

    async fn look(
        &self,
        who: &Principal,
        need: Need,
        namespaces: impl FnOnce() -> BTreeSet<Text> + Send,
    ) -> (Result<Scope, Barred>, Instant) {
        let (everywhere, until) = self.decided(who, &need.deed(None)).await;
        match everywhere {
            Verdict::Allowed => (Ok(Scope::All), until),
            Verdict::Undecided(why) => (Err(Barred::Undecided(why)), until),
            Verdict::Denied => self.among(who, need, namespaces(), until).await,
        }
    }

    /// As [`Rights::scope`], of who may not everywhere.
    async fn among(
        &self,
        who: &Principal,
        need: Need,
        namespaces: BTreeSet<Text>,
        until: Instant,
    ) -> (Result<Scope, Barred>, Instant) {
        let asked = stream::iter(namespaces.into_iter().take(MAX_NAMESPACES)).map(async |namespace| {
            let (verdict, until) = self.decided(who, &need.deed(Some(&namespace))).await;
            match verdict {
                Verdict::Allowed => Ok((Some(namespace), until)),
                Verdict::Denied => Ok((None, until)),
                Verdict::Undecided(why) => Err((why, until)),
            }
        });
        let found: Result<Vec<_>, _> = asked.buffer_unordered(AT_ONCE_OF_ONE).try_collect().await;
        let found = match found {
            Ok(found) => found,
            Err((why, until)) => return (Err(Barred::Undecided(why)), until),
        };
        let until = found.iter().map(|(_, until)| *until).fold(until, Instant::min);
        let readable: BTreeSet<Text> = found.into_iter().filter_map(|(namespace, _)| namespace).collect();
        let scope = match need.reach {
            _ if readable.is_empty() => Err(Barred::Denied),
            Reach::Cluster => Err(Barred::OnlyInNamespaces),
            Reach::Namespaces => Ok(Scope::Only(Arc::new(readable))),
        };
        (scope, until)
    }

    /// The verdict that needs none: a listener that was told to trust the machine says that its user asks, and there is
    /// nobody else where nothing is known of Kubernetes.
    fn without_review(&self, who: &Principal) -> Option<Verdict> {
        match (&self.judge, who.proof) {
            (_, Proof::Machine) => Some(Verdict::Allowed),
            (Judge::Machine, _) => Some(Verdict::Denied),
            (Judge::Kubernetes(_) | Judge::Other(_), _) => None,
        }
    }

    /// The verdict, and until when it stands.
    async fn decided(&self, who: &Principal, deed: &Deed) -> (Verdict, Instant) {
        if let Some(verdict) = self.without_review(who) {
            return (verdict, Instant::now() + ALLOWED);
        }
        let mut from = From::Memory;
        let review = || {
            from = From::Judge;
            Box::pin(self.reviewed(who, deed))
        };
        let decided = self.memory.decisions.get((Key::of(who), deed.clone()), review).await;
        self.metrics.decided(&decided.0, from);
        decided
    }

    /// The verdict of a review that was waited for long enough, and until when it stands.
    async fn reviewed(&self, who: &Principal, deed: &Deed) -> (Verdict, Instant) {
        let began = Instant::now();
        let late = || Verdict::Undecided(format!("no answer within {} s", PATIENCE.as_secs()));
        let verdict = timeout(PATIENCE, self.review(who, deed)).await.unwrap_or_else(|_| late());
        self.metrics.reviewed(began.elapsed());
        let stands = match verdict {
            Verdict::Allowed => ALLOWED,
            Verdict::Denied => DENIED,
            Verdict::Undecided(_) => UNDECIDED,
        };
        (verdict, Instant::now() + stands)
    }

    async fn review(&self, who: &Principal, deed: &Deed) -> Verdict {
        let Ok(_place) = self.memory.places.acquire().await else {
            return Verdict::Undecided("this process is shutting down".to_owned());
        };
        let client = match &self.judge {
            Judge::Kubernetes(client) => client.clone(),
            Judge::Other(decide) => return decide(who, deed).await,
            Judge::Machine => return Verdict::Denied,
        };
        let review = SubjectAccessReview { spec: spec(who, deed), ..SubjectAccessReview::default() };
        match Api::all(client).create(&PostParams::default(), &review).await {
            Ok(SubjectAccessReview { status: Some(status), .. }) => verdict(status),
            Ok(_) => Verdict::Undecided("the API server's review has no answer".to_owned()),
            Err(error) => Verdict::Undecided(crate::chain::chain(&error)),
        }
    }
}

// === impl Deed ===

impl Deed {
    /// Something with a virtual resource of ours; without a namespace, in all of them.
    pub fn ours(verb: &'static str, resource: &'static str, namespace: Option<&str>) -> Self {
        Self {
            verb: verb.into(),
            group: GROUP.into(),
            resource: resource.into(),
            namespace: namespace.map(str::to_owned),
            name: None,
        }
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let judge = match self.judge {
            Judge::Kubernetes(_) => "Kubernetes",
            Judge::Machine => "Machine",
            Judge::Other(_) => "Other",
        };
        f.debug_struct("Rights").field("judge", &judge).finish_non_exhaustive()
    }
}

fn spec(who: &Principal, deed: &Deed) -> SubjectAccessReviewSpec {
    let Deed { verb, group, resource, namespace, name } = deed;
    SubjectAccessReviewSpec {
        user: Some(who.user.to_string()),
        groups: Some(who.groups.iter().map(ToString::to_string).collect()),
        resource_attributes: Some(ResourceAttributes {
            verb: Some(verb.to_string()),
            group: Some(group.to_string()),
            resource: Some(resource.to_string()),
            namespace: namespace.clone(),
            name: name.clone(),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

/// `denied` overrules `allowed`, and an error without either is no decision (authorization.k8s.io/v1).
fn verdict(status: SubjectAccessReviewStatus) -> Verdict {
    match (status.allowed, status.denied, status.evaluation_error) {
        (_, Some(true), _) => Verdict::Denied,
        (true, _, _) => Verdict::Allowed,
        (false, _, Some(error)) => Verdict::Undecided(error),
        (false, _, None) => Verdict::Denied,
    }
}
