//! gRPC `mcp.v1.MeshContext`, written by hand where tonic's generated server would cost a copy per call.
//!
//! A generated handler returns a message, which tonic encodes, prefixes and copies for every caller. Here a handler
//! returns bytes: most of them are made once per revision and shared, and a gRPC message is a five-byte prefix and
//! its bytes ([`crate::encode::message`]). Clients see no difference. Health and reflection are tonic's own.

use crate::{
    answer::{Fault, Refusal},
    authorization::{Authorization, Granted},
    change::{Changes, Fault as ChangeFault, Refusal as ChangeRefusal},
    linkerd::Controllers,
    metrics::{ApiMetrics, Method},
    replica::Replica,
    rights::table::{Surface, row},
};
use body::{Reply, read_request};
use futures::future::BoxFuture;
use http::{Request, Response};
use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
use tonic::{Status, body::Body};

pub(crate) mod access;
mod body;
mod change;
mod graph;
mod retry;
mod watch;

/// The service. Cloning shares the replica.
#[derive(Debug, Clone)]
pub(crate) struct MeshContext {
    /// The whole mesh; in the copy that answers a request, what its caller may see.
    pub(crate) replica: Replica,
    pub(crate) authorization: Authorization,
    pub(crate) metrics: ApiMetrics,
    /// Linkerd's own, where they can be asked.
    pub(crate) linkerd: Option<Controllers>,
    /// Plans, applies and undoes changes of policy.
    pub(crate) changes: Changes,
    /// A watcher hears at least this often.
    pub(crate) bookmarks: Duration,
    /// How many watchers there may be.
    pub(crate) max_watchers: usize,
    /// Of these, the places that are free.
    pub(crate) places: Arc<Semaphore>,
}

pub(crate) const NAME: &str = "mcp.v1.MeshContext";

impl MeshContext {
    /// The only way to a method: nothing is read of a request before its caller was let through. What was granted goes
    /// with the request, as an extension.
    async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        if row(Surface::Grpc, &path).is_none() {
            return unknown(name).into_http();
        }
        let asker = self.authorization.asker(request.extensions(), request.headers());
        let granted = match self.authorization.admit(Surface::Grpc, &path, &asker, &self.replica).await {
            Ok(granted) => granted,
            Err(refused) => return Status::from(refused).into_http(),
        };
        let service = self.scoped(&granted);
        request.extensions_mut().insert(Arc::new(granted));
        let (method, reply) = match name {
            "GetMeshGraph" => (Method::GetMeshGraph, service.get_mesh_graph(request).await),
            "GetCallGraph" => (Method::GetCallGraph, service.get_call_graph(request).await),
            "WatchMeshGraph" => (Method::WatchMeshGraph, service.watch_mesh_graph(request, self).await),
            "CheckAccess" => (Method::CheckAccess, access::check_access(&service, request).await),
            "ListAccess" => (Method::ListAccess, access::list_access(&service, request).await),
            "ExplainDenials" => (Method::ExplainDenials, access::explain_denials(&service, request).await),
            "LintPolicies" => (Method::LintPolicies, access::lint_policies(&service, request).await),
            "PlanChange" => (Method::PlanChange, change::plan_change(&service, request).await),
            "ApplyPlan" => (Method::ApplyPlan, change::apply_plan(&service, request).await),
            "RollbackChange" => (Method::RollbackChange, change::rollback_change(&service, request).await),
            "ListChanges" => (Method::ListChanges, change::list_changes(&service, request).await),
            "ProposePolicy" => (Method::ProposePolicy, change::propose_policy(&service, request).await),
            "ApplyAuthorizationPolicy" => (
                Method::ApplyAuthorizationPolicy,
                change::apply_authorization_policy(&service, request).await,
            ),
            "ApplyHTTPRoute" => (Method::ApplyHttpRoute, change::apply_http_route(&service, request).await),
            "CompareEndpoints" => {
                (Method::CompareEndpoints, access::compare_endpoints(&service, request).await)
            }
            "ResolvePolicy" => (Method::ResolvePolicy, access::resolve_policy(&service, request).await),
            _ => return unknown(name).into_http(),
        };
        let code = reply.as_ref().err().map_or("Ok", |status| code_name(status.code()));
        self.metrics.answered(method, code, started.elapsed());
        match reply {
            Ok(reply) => reply.into_response(),
            Err(status) => status.into_http(),
        }
    }

    async fn get_mesh_graph(&self, request: Request<Body>) -> Result<Reply, Status> {
        graph::get_mesh_graph(self, read_request(request).await?).await
    }

    async fn get_call_graph(&self, request: Request<Body>) -> Result<Reply, Status> {
        graph::get_call_graph(self, &read_request(request).await?)
    }

    /// `whole` is the service that this is a part of: rights change while somebody watches.
    async fn watch_mesh_graph(&self, request: Request<Body>, whole: &Self) -> Result<Reply, Status> {
        let granted = request.extensions().get::<Arc<Granted>>().cloned();
        let granted =
            granted.ok_or_else(|| Status::internal("what was granted did not come with the request"))?;
        watch::watch_mesh_graph(self, whole, granted, read_request(request).await?)
    }

    /// The service as one sees it who was granted this.
    fn scoped(&self, granted: &Granted) -> Self {
        Self { replica: self.replica.scoped(&granted.scope), ..self.clone() }
    }
}

fn unknown(name: &str) -> Status {
    Status::unimplemented(format!("{NAME} has no method `{name}`; reflection lists what there is"))
}

impl tower::Service<Request<Body>> for MeshContext {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl tonic::server::NamedService for MeshContext {
    const NAME: &'static str = NAME;
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal.fault() {
            Fault::Unavailable => Self::unavailable(message),
            Fault::Precondition => Self::failed_precondition(message),
            Fault::NotFound => Self::not_found(message),
            Fault::Invalid => Self::invalid_argument(message),
            Fault::TooLarge => Self::resource_exhausted(message),
        }
    }
}

impl From<ChangeRefusal> for Status {
    fn from(refusal: ChangeRefusal) -> Self {
        let message = refusal.to_string();
        match refusal.fault() {
            ChangeFault::Unauthenticated => Self::unauthenticated(message),
            ChangeFault::Forbidden => Self::permission_denied(message),
            ChangeFault::Invalid => Self::invalid_argument(message),
            ChangeFault::TooLarge => Self::resource_exhausted(message),
            ChangeFault::NotFound => Self::not_found(message),
            ChangeFault::Precondition => Self::failed_precondition(message),
            ChangeFault::Conflict => Self::aborted(message),
            ChangeFault::Unavailable => Self::unavailable(message),
        }
    }
}

/// The codes that handlers here return, as labels.
fn code_name(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "Ok",
        tonic::Code::InvalidArgument => "InvalidArgument",
        tonic::Code::NotFound => "NotFound",
        tonic::Code::FailedPrecondition => "FailedPrecondition",
        tonic::Code::Unavailable => "Unavailable",
        tonic::Code::ResourceExhausted => "ResourceExhausted",
        tonic::Code::Unimplemented => "Unimplemented",
        tonic::Code::Unauthenticated => "Unauthenticated",
        tonic::Code::PermissionDenied => "PermissionDenied",
        tonic::Code::Aborted => "Aborted",
        _ => "Other",
    }
}
