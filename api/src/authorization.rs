//! Where rights are enforced: every request passes [`Authorization::admit`] before anything is read for it.
//!
//! ```text
//! grpc   MeshContext::answer ┐
//! http   a layer on routes   ├─► admit ─► table ─► Rights ─► Granted: who, where, which trace
//! mcp    Server, one by one  ┘       └──► audit
//! ```
//!
//! What is granted goes with the request; handlers answer from a replica that shows no more than [`Granted::scope`].

use crate::{
    audit::{Audit, Outcome, Record, Trace},
    caller::Principal,
    mcp::text::data,
    replica::Replica,
    rights::{
        Barred, Deed, Rights, Scope, Verdict,
        table::{self, Door, Effect, Need, Surface},
    },
};
use http::{Extensions, HeaderMap};
use linkerd_mcp_graph::id::Text;
use prometheus_client::registry::Registry;
use std::{borrow::Cow, collections::BTreeSet};

/// What decides, and what writes it down. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Authorization {
    rights: Rights,
    audit: Audit,
    read_only: bool,
}

/// A request that may be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Granted {
    /// Who asks.
    pub who: Principal,
    /// Where it may do what it asks.
    pub scope: Scope,
    /// What the request is known by in logs.
    pub trace: Trace,
}

/// Who sends a request, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) who: Option<Principal>,
    pub(crate) trace: Trace,
}

/// Why a request is not answered. The caller reads it, so it says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody in particular asks.
    #[error(
        "it is not known who asks: come over the mesh, with a client certificate of the mesh, or with a ServiceAccount's \
         token"
    )]
    Unknown,
    /// RBAC grants it nowhere.
    #[error("{who} may not {need}: an operator can bind {} to it, for all namespaces or in some", role(.need))]
    Denied {
        /// The user of Kubernetes.
        who: String,
        /// The right that is missing.
        need: Need,
    },
    /// RBAC grants it in some namespaces, and it cannot be limited to these.
    #[error(
        "{who} may {need} in some namespaces only, and this answer cannot be limited to them: an operator can bind {} to \
         it for all namespaces", role(.need)
    )]
    OnlyInNamespaces {
        /// The user of Kubernetes.
        who: String,
        /// The right that is needed in all namespaces.
        need: Need,
    },
    /// RBAC grants it in some namespaces, and this was asked for all.
    #[error("{who} may {need} in some namespaces only: name one of them")]
    Everywhere {
        /// The user of Kubernetes.
        who: String,
        /// The right.
        need: Need,
    },
    /// RBAC grants it in other namespaces.
    #[error("{who} may not {need} in namespace `{namespace}`: an operator can bind {} to it there", role(.need))]
    NotThere {
        /// The user of Kubernetes.
        who: String,
        /// The right that is missing.
        need: Need,
        /// Where it is missing.
        namespace: String,
    },
    /// A right in Kubernetes itself is missing.
    #[error(
        "{who} may not {verb} {resource} in Kubernetes {place}, so it is not done here either: an operator can bind a role \
         with that right to it"
    )]
    NotOwn {
        /// The user of Kubernetes.
        who: String,
        /// What it may not do.
        verb: String,
        /// With what.
        resource: String,
        /// Where, in words.
        place: String,
    },
    /// Nobody changes anything here.
    #[error("nothing is changed through here: an operator can allow it with readOnly=false in the chart")]
    ReadOnly,
    /// Nobody could decide.
    #[error(
        "whether {who} may do that could not be decided, because the Kubernetes API did not say; try again in a moment"
    )]
    Undecided {
        /// The user of Kubernetes.
        who: String,
    },
    /// There is no row for it.
    #[error("`{0}` has no row in the table of rights, so nobody may ask it; this is a defect of linkerd-mcp")]
    Unlisted(String),
}

/// The role that gives a right. Its full name has the namespace in it that the chart is installed to.
fn role(need: &Need) -> &'static str {
    match need.resource {
        "plans" | "changes" if need.verb != "list" => {
            "the ClusterRole linkerd-<namespace of linkerd-mcp>-editor (authorization.editors in the chart)"
        }
        _ => "the ClusterRole linkerd-<namespace of linkerd-mcp>-viewer (authorization.viewers in the chart)",
    }
}

// === impl Authorization ===

impl Authorization {
    /// `rights` decide.
    pub fn new(rights: Rights) -> Self {
        Self { rights, audit: Audit::default(), read_only: false }
    }

    /// For `serve` and `demo`: whoever uses the machine may do what linkerd-mcp can do there.
    pub fn machine() -> Self {
        Self::new(Rights::machine())
    }

    /// Where `read_only`, nobody may change policy, whatever rights they have.
    #[must_use]
    pub fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// What decides.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// What writes it down.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// True when policy may not be changed, whoever asks.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Registers what is counted.
    pub fn register(&self, registry: &mut Registry) {
        self.rights.metrics().register(registry);
        self.audit.register(registry);
    }

    /// Who sends a request with these extensions and headers. Only a listener puts a [`Principal`] into the extensions;
    /// without one nobody asks, unless the machine is trusted.
    pub(crate) fn asker(&self, extensions: &Extensions, headers: &HeaderMap) -> Asker {
        let known = extensions.get::<Principal>().cloned();
        let who = known.or_else(|| self.rights.trusts_the_machine().then(Principal::machine));
        Asker { who, trace: Trace::of(headers) }
    }

    /// Lets a request through, limited to where its caller may, or says why not.
    ///
    /// # Errors
    ///
    /// Why not; that has been written down.
    pub(crate) async fn admit(
        &self,
        surface: Surface,
        name: &str,
        asker: &Asker,
        replica: &Replica,
    ) -> Result<Granted, Refused> {
        let row = table::row(surface, name);
        let decided = match row {
            Some(row) => self.granted(row, asker, replica).await,
            None => Err(Refused::Unlisted(data(name))),
        };
        let need = row.and_then(|row| match row.door {
            Door::Needs(need) => Some(need),
            Door::Open | Door::Known => None,
        });
        let record = |outcome| {
            let method: Cow<'static, str> = row.map_or_else(|| name.to_owned().into(), |row| row.name.into());
            let mut record = Record::new(surface, method, outcome, asker.trace);
            (record.who, record.need) = (asker.who.clone(), need);
            record
        };
        match &decided {
            Ok(granted) => {
                let within = |record: Record| match granted.scope.namespaces() {
                    Some(namespaces) => record.within(namespaces.iter().map(ToString::to_string)),
                    None => record,
                };
                if row.is_some_and(table::Row::bears_on_change) {
                    self.audit.write(&within(record(Outcome::Allowed)));
                } else {
                    self.audit.note(|| within(record(Outcome::Allowed)), Outcome::Allowed);
                }
            }
            Err(refused) => self.audit.write(&record(refused.outcome()).because(refused.to_string())),
        }
        decided
    }

    async fn granted(&self, row: &table::Row, asker: &Asker, replica: &Replica) -> Result<Granted, Refused> {
        let who = asker.who.clone().ok_or(Refused::Unknown)?;
        let scope = self.decide(row, Some(&who), || replica.namespaces()).await?;
        Ok(Granted { who, scope, trace: asker.trace })
    }

    /// Where somebody may ask what is in a row of the table, of `namespaces` when it is not everywhere. Nothing is written
    /// down.
    ///
    /// # Errors
    ///
    /// Why it may nowhere.
    pub async fn decide(
        &self,
        row: &table::Row,
        who: Option<&Principal>,
        namespaces: impl FnOnce() -> BTreeSet<Text> + Send,
    ) -> Result<Scope, Refused> {
        let need = match row.door {
            Door::Open => return Ok(Scope::All),
            Door::Known => return who.map(|_| Scope::All).ok_or(Refused::Unknown),
            Door::Needs(need) => need,
        };
        let who = who.ok_or(Refused::Unknown)?;
        let scope = self.rights.scope(who, need, namespaces).await;
        let scope = scope.map_err(|barred| Refused::of(barred, who, need))?;
        if row.effect == Effect::Writes && self.read_only { Err(Refused::ReadOnly) } else { Ok(scope) }
    }

    /// Where the caller may use something, without anything being written down: for lists of what there is.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub(crate) async fn may_use(
        &self,
        surface: Surface,
        name: &str,
        asker: &Asker,
        replica: &Replica,
    ) -> Result<Granted, Refused> {
        let row = table::row(surface, name).ok_or_else(|| Refused::Unlisted(data(name)))?;
        self.granted(row, asker, replica).await
    }

    /// The caller's own right to objects of Kubernetes, which is asked for besides the right to ask here.
    ///
    /// # Errors
    ///
    /// When it has none; that has been written down.
    pub async fn own(
        &self,
        surface: Surface,
        name: &'static str,
        granted: &Granted,
        deed: &Deed,
    ) -> Result<(), Refused> {
        let verdict = self.rights.decide(&granted.who, deed).await;
        let who = data(&granted.who.user);
        let refused = match verdict {
            Verdict::Allowed => return Ok(()),
            Verdict::Denied => {
                let resource = match &*deed.group {
                    "" => deed.resource.to_string(),
                    group => format!("{}.{group}", deed.resource),
                };
                let place = match &deed.namespace {
                    Some(namespace) => format!("in namespace `{}`", data(namespace)),
                    None => "in all namespaces".to_owned(),
                };
                Refused::NotOwn { who, verb: deed.verb.to_string(), resource, place }
            }
            Verdict::Undecided(_) => Refused::Undecided { who },
        };
        let record = Record::new(surface, name, refused.outcome(), granted.trace).by(&granted.who);
        self.audit.write(&record.within(deed.namespace.clone()).because(refused.to_string()));
        Err(refused)
    }
}

// === impl Granted ===

impl Granted {
    /// That the scope has this namespace, or with none all of them.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub fn there(&self, need: Need, namespace: Option<&str>) -> Result<(), Refused> {
        let who = || data(&self.who.user);
        match namespace {
            _ if self.scope == Scope::All => Ok(()),
            Some(namespace) if self.scope.has(namespace) => Ok(()),
            Some(namespace) => Err(Refused::NotThere { who: who(), need, namespace: data(namespace) }),
            None => Err(Refused::Everywhere { who: who(), need }),
        }
    }
}

// === impl Refused ===

impl Refused {
    fn of(barred: Barred, who: &Principal, need: Need) -> Self {
        let user = data(&who.user);
        match barred {
            Barred::Denied => Self::Denied { who: user, need },
            Barred::OnlyInNamespaces => Self::OnlyInNamespaces { who: user, need },
            Barred::Undecided(why) => {
                // It may name addresses, so it is for operators only.
                tracing::warn!(user, why, "it could not be decided what a caller may do");
                Self::Undecided { who: user }
            }
        }
    }

    /// True when it may be answered another time.
    pub fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided { .. })
    }

    fn outcome(&self) -> Outcome {
        if self.is_undecided() { Outcome::Undecided } else { Outcome::Refused }
    }

    /// One word for metrics and logs.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Unknown => "unauthenticated",
            Self::ReadOnly => "read_only",
            Self::Undecided { .. } => "unavailable",
            _ => "forbidden",
        }
    }
}

impl From<Refused> for tonic::Status {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::Unknown => Self::unauthenticated(message),
            Refused::ReadOnly => Self::failed_precondition(message),
            Refused::Undecided { .. } => Self::unavailable(message),
            _ => Self::permission_denied(message),
        }
    }
}

impl From<Refused> for rmcp::ErrorData {
    fn from(refused: Refused) -> Self {
        // Codes of our own, beside those of resources and the gate.
        let code = if refused.is_undecided() { -31_001 } else { -31_002 };
        Self::new(rmcp::model::ErrorCode(code), refused.to_string(), None)
    }
}
