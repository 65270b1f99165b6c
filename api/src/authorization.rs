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
use prometheus_client::registry::Registry;
use std::borrow::Cow;

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
pub(crate) enum Refused {
    #[error(
        "it is not known who asks: come over the mesh, with a client certificate of the mesh, or with a ServiceAccount's \
         token"
    )]
    Unknown,
    #[error(
        "{who} may not {} {}.mcp.linkerd.io: an operator can bind the ClusterRole linkerd-mcp-{} to it, for all \
         namespaces or in some", .need.verb, .need.resource, role(.need)
    )]
    Denied { who: String, need: Need },
    #[error(
        "{who} may {} {}.mcp.linkerd.io in some namespaces only, and this answer cannot be limited to them: an operator \
         can bind the ClusterRole linkerd-mcp-{} to it for all namespaces", .need.verb, .need.resource, role(.need)
    )]
    OnlyInNamespaces { who: String, need: Need },
    #[error("{who} may {} {}.mcp.linkerd.io in some namespaces only: name one of them", .need.verb, .need.resource)]
    Everywhere { who: String, need: Need },
    #[error(
        "{who} may not {} {}.mcp.linkerd.io in namespace `{namespace}`: an operator can bind the ClusterRole \
         linkerd-mcp-{} to it there", .need.verb, .need.resource, role(.need)
    )]
    NotThere { who: String, need: Need, namespace: String },
    #[error(
        "{who} may not {verb} {resource} in Kubernetes {place}, and what it may not read there is not read for it here: an \
         operator can bind a role with that right to it"
    )]
    NotOwn { who: String, verb: String, resource: String, place: String },
    #[error("nothing is changed through here: an operator can allow it with readOnly=false in the chart")]
    ReadOnly,
    #[error(
        "whether {who} may do that could not be decided, because the Kubernetes API did not say; try again in a moment"
    )]
    Undecided { who: String },
    #[error("`{0}` has no row in the table of rights, so nobody may ask it; this is a defect of linkerd-mcp")]
    Unlisted(String),
}

/// The role of the chart that gives a right.
fn role(need: &Need) -> &'static str {
    match need.resource {
        "plans" | "changes" if need.verb != "list" => "editor",
        _ => "viewer",
    }
}

// === impl Authorization ===

impl Authorization {
    /// `rights` decide, and nothing may be changed.
    pub fn new(rights: Rights) -> Self {
        Self { rights, audit: Audit::default(), read_only: true }
    }

    /// For `serve` and `demo`: whoever uses the machine may do what linkerd-mcp can do there, and nothing may be changed.
    pub fn machine() -> Self {
        Self::new(Rights::machine())
    }

    /// Policy may be changed, by those who have the right.
    #[must_use]
    pub fn writable(self) -> Self {
        Self { read_only: false, ..self }
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
            Some(row) => self.decide(row, asker, replica).await,
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

    async fn decide(&self, row: &table::Row, asker: &Asker, replica: &Replica) -> Result<Granted, Refused> {
        let who = asker.who.clone().ok_or(Refused::Unknown)?;
        let Door::Needs(need) = row.door else {
            return Ok(Granted { who, scope: Scope::All, trace: asker.trace });
        };
        let scope = match self.rights.scope(&who, need, || replica.namespaces()).await {
            Ok(scope) => scope,
            Err(barred) => return Err(Refused::of(barred, &who, need)),
        };
        if row.effect == Effect::Writes && self.read_only {
            return Err(Refused::ReadOnly);
        }
        Ok(Granted { who, scope, trace: asker.trace })
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
        self.decide(row, asker, replica).await
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
    ) -> Result<(), NotOwn> {
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
        Err(NotOwn(refused))
    }
}

/// The caller lacks a right of its own in Kubernetes, or nobody could say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct NotOwn(Refused);

// === impl NotOwn ===

impl NotOwn {
    /// True when nobody could decide, so that it may be another time.
    pub fn is_undecided(&self) -> bool {
        matches!(self.0, Refused::Undecided { .. })
    }

    pub(crate) fn into_refused(self) -> Refused {
        self.0
    }
}

// === impl Granted ===

impl Granted {
    /// That the scope has this namespace, or with none all of them.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub(crate) fn there(&self, need: Need, namespace: Option<&str>) -> Result<(), Refused> {
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
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided { .. })
    }

    fn outcome(&self) -> Outcome {
        if self.is_undecided() { Outcome::Undecided } else { Outcome::Refused }
    }

    /// One word for metrics and logs.
    pub(crate) fn status(&self) -> &'static str {
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
