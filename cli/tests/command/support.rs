//! An API in this process, and the command as a shell runs it.

use crate::sample;
use linkerd_mcp_proto::v1::{
    ApplyPlanRequest, ApplyPlanResponse, CallGraphEdge, CheckAccessRequest, CheckAccessResponse,
    CompareEndpointsRequest, CompareEndpointsResponse, Decision, Delta, Edge, ExplainDenialsRequest,
    ExplainDenialsResponse, GetCallGraphRequest, GetCallGraphResponse, GetMeshGraphRequest,
    GetMeshGraphResponse, LintPoliciesRequest, LintPoliciesResponse, ListAccessRequest, ListAccessResponse,
    ListChangesRequest, ListChangesResponse, PlanChangeRequest, PlanChangeResponse, Position,
    ProposePolicyRequest, ProposePolicyResponse, ResolvePolicyRequest, ResolvePolicyResponse, Resync,
    RollbackChangeRequest, RollbackChangeResponse, Snapshot, WatchMeshGraphRequest, WatchMeshGraphResponse,
    mesh_context_server::{MeshContext, MeshContextServer},
    watch_mesh_graph_response::Event,
};
use std::{
    net::SocketAddr,
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, process::Command, time::timeout};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, codegen::BoxStream};

/// For everything that a test waits for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// An API that knows the sample graph.
#[derive(Default)]
pub(crate) struct Api {
    /// How often the first question is answered with "not yet".
    pub(crate) not_yet: AtomicUsize,
    pub(crate) watches: Arc<AtomicUsize>,
    /// How often something was to be applied.
    pub(crate) applies: Arc<AtomicUsize>,
    /// What the last question for the graph had in `authorization`.
    pub(crate) authorization: Arc<parking_lot::Mutex<Option<String>>>,
}

#[tonic::async_trait]
impl MeshContext for Api {
    async fn get_mesh_graph(
        &self,
        request: Request<GetMeshGraphRequest>,
    ) -> Result<Response<GetMeshGraphResponse>, Status> {
        let authorization = request.metadata().get("authorization").map(|it| it.to_str().expect("text"));
        *self.authorization.lock() = authorization.map(str::to_owned);
        let waiting = self.not_yet.load(Ordering::SeqCst);
        if waiting > 0 {
            self.not_yet.store(waiting - 1, Ordering::SeqCst);
            return Err(Status::unavailable("no snapshot has come yet"));
        }
        let mut graph = sample::graph();
        match request.into_inner().namespace.as_str() {
            "" => {}
            "quiet" => graph.edges.clear(),
            "emojivoto" => graph.edges.retain(|edge| edge.dst_namespace == "emojivoto"),
            "huge" => graph.edges = huge(),
            other => return Err(Status::not_found(format!("there is no namespace `{other}` in the graph"))),
        }
        Ok(Response::new(GetMeshGraphResponse { graph: Some(graph) }))
    }

    async fn get_call_graph(
        &self,
        request: Request<GetCallGraphRequest>,
    ) -> Result<Response<GetCallGraphResponse>, Status> {
        let root = request.into_inner().root;
        if root != "shop/deployment/cart" {
            return Err(Status::not_found(format!("there is no Service or workload `{root}` in the graph")));
        }
        let mut graph = sample::graph();
        graph.edges.retain(|edge| edge.src == root);
        let edges = graph
            .edges
            .iter()
            .map(|edge| CallGraphEdge { edge_id: edge.id.clone(), depth: 1, direction: 2 })
            .collect();
        Ok(Response::new(GetCallGraphResponse { root, edges, graph: Some(graph), truncated: false }))
    }

    /// `shop/web` may call; some of the pods refuse `shop/books` with a request, and all of them without.
    async fn check_access(
        &self,
        request: Request<CheckAccessRequest>,
    ) -> Result<Response<CheckAccessResponse>, Status> {
        let request = request.into_inner();
        let (_, mut answer) = match request.path.as_str() {
            "" => sample::policy::denied(),
            _ => sample::policy::mixed(),
        };
        match request.from.as_str() {
            "shop/books" => {}
            "shop/web" => {
                answer.accesses.clear();
                answer.decision = Decision::Allow.into();
            }
            other => {
                return Err(Status::not_found(format!(
                    "there is no Service or workload `{other}` in the graph"
                )));
            }
        }
        Ok(Response::new(answer))
    }

    async fn list_access(
        &self,
        request: Request<ListAccessRequest>,
    ) -> Result<Response<ListAccessResponse>, Status> {
        let request = request.into_inner();
        let mut answer = sample::policy::listed();
        match (request.to.as_str(), request.from.as_str(), request.namespace.as_str()) {
            ("shop/cart" | "shop/deployment/cart", "", "") => {
                answer.ports.truncate(1);
                answer.calls.retain(|call| call.workload == "shop/deployment/cart");
            }
            ("", "shop/deployment/web", "") => {
                answer.ports.clear();
                answer.calls.retain(|call| call.from == "shop/deployment/web");
            }
            ("", "", "shop") => {}
            other => return Err(Status::invalid_argument(format!("unexpected question {other:?}"))),
        }
        Ok(Response::new(answer))
    }

    async fn lint_policies(
        &self,
        request: Request<LintPoliciesRequest>,
    ) -> Result<Response<LintPoliciesResponse>, Status> {
        let request = request.into_inner();
        let mut answer = sample::policy::linted();
        if request.namespace == "tidy" {
            answer.findings.clear();
        }
        if request.enforced {
            answer.compared = 7;
            answer.findings.insert(0, sample::policy::drift());
        }
        Ok(Response::new(answer))
    }

    async fn explain_denials(
        &self,
        request: Request<ExplainDenialsRequest>,
    ) -> Result<Response<ExplainDenialsResponse>, Status> {
        let request = request.into_inner();
        let mut answer = sample::policy::explained();
        match (request.to.as_str(), request.from.as_str(), request.namespace.as_str()) {
            ("", "", "shop") => {}
            ("shop/cart", "shop/deployment/books", "") => answer.denials.truncate(1),
            ("", "", "quiet") => answer.denials.clear(),
            other => return Err(Status::invalid_argument(format!("unexpected question {other:?}"))),
        }
        Ok(Response::new(answer))
    }

    /// Nothing differs for clients in namespace `shop`, and `quiet/cart` has no endpoints.
    async fn compare_endpoints(
        &self,
        request: Request<CompareEndpointsRequest>,
    ) -> Result<Response<CompareEndpointsResponse>, Status> {
        let request = request.into_inner();
        let mut answer = sample::policy::told();
        match (request.service.as_str(), request.client_namespace.as_str()) {
            ("shop/cart:80", "") => {}
            ("shop/service/cart", "shop") => answer.differences.clear(),
            ("quiet/cart", "") => {
                answer.endpoints.clear();
                answer.differences.clear();
            }
            ("shop/books:80", "") => {
                return Err(Status::failed_precondition("it does not know Linkerd's own controllers"));
            }
            other => return Err(Status::invalid_argument(format!("unexpected question {other:?}"))),
        }
        Ok(Response::new(answer))
    }

    async fn resolve_policy(
        &self,
        request: Request<ResolvePolicyRequest>,
    ) -> Result<Response<ResolvePolicyResponse>, Status> {
        let request = request.into_inner();
        match (request.workload.as_str(), request.namespace.as_str()) {
            ("shop/deployment/cart", "") | ("", "shop") => Ok(Response::new(sample::policy::resolved())),
            other => Err(Status::invalid_argument(format!("unexpected question {other:?}"))),
        }
    }

    /// What is managed elsewhere is refused, and what is simulated has no plan.
    async fn plan_change(
        &self,
        request: Request<PlanChangeRequest>,
    ) -> Result<Response<PlanChangeResponse>, Status> {
        let request = request.into_inner();
        if request.manifest.contains("flux") {
            return Ok(Response::new(sample::change::refused()));
        }
        let expected = PlanChangeRequest {
            manifest: "kind: Server\n".to_owned(),
            removes: vec!["server/shop/web".to_owned()],
            namespace: "shop".to_owned(),
            force: false,
            simulate_only: request.simulate_only,
        };
        if request != expected {
            return Err(Status::invalid_argument(format!("unexpected question {request:?}")));
        }
        let mut answer = sample::change::planned();
        if request.simulate_only {
            answer.plan.clear();
        }
        Ok(Response::new(answer))
    }

    /// A plan is good once. That the API is not ready is no reason to try again what writes.
    async fn apply_plan(
        &self,
        request: Request<ApplyPlanRequest>,
    ) -> Result<Response<ApplyPlanResponse>, Status> {
        let request = request.into_inner();
        match (request.plan.as_str(), self.applies.fetch_add(1, Ordering::SeqCst)) {
            ("p-7.secret", 0) => {
                let mut answer = sample::change::applied();
                if request.guard.is_none_or(|guard| guard.seconds != 300) {
                    answer.guarded_until = None;
                }
                Ok(Response::new(answer))
            }
            ("p-8.fails", 0) => Ok(Response::new(sample::change::failed())),
            ("p-9.away", 0) => Err(Status::unavailable("no snapshot has come yet")),
            other => Err(Status::failed_precondition(format!("unexpected plan {other:?}"))),
        }
    }

    async fn rollback_change(
        &self,
        request: Request<RollbackChangeRequest>,
    ) -> Result<Response<RollbackChangeResponse>, Status> {
        let request = request.into_inner();
        let applied = sample::change::applied();
        match request.change_id.as_str() {
            "c-7f3a" => Ok(Response::new(RollbackChangeResponse {
                accepted: true,
                change_id: "c-8000".to_owned(),
                objects: applied.objects,
                text: request.reason,
            })),
            other => Err(Status::not_found(format!("there is no change `{other}`"))),
        }
    }

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        let request = request.into_inner();
        let mut answer = sample::change::listed();
        match (request.namespace.as_str(), request.change_id.as_str(), request.limit) {
            ("shop", "", 50) => {}
            ("quiet", "", 50) => answer = ListChangesResponse::default(),
            ("", "c-7f3a", 50) => answer.changes.truncate(1),
            other => return Err(Status::invalid_argument(format!("unexpected question {other:?}"))),
        }
        Ok(Response::new(answer))
    }

    async fn propose_policy(
        &self,
        request: Request<ProposePolicyRequest>,
    ) -> Result<Response<ProposePolicyResponse>, Status> {
        let request = request.into_inner();
        match (request.target.as_str(), request.namespace.as_str(), request.enforce) {
            ("shop/deployment/cart", "", true) | ("", "shop", false) => {
                Ok(Response::new(sample::change::proposed()))
            }
            other => Err(Status::invalid_argument(format!("unexpected question {other:?}"))),
        }
    }

    /// The first watch tells a snapshot and breaks; the second resumes it with a change, and stays open.
    async fn watch_mesh_graph(
        &self,
        request: Request<WatchMeshGraphRequest>,
    ) -> Result<Response<BoxStream<WatchMeshGraphResponse>>, Status> {
        let respond = |event| Ok(WatchMeshGraphResponse { event: Some(event) });
        let position = |seq| Some(Position { epoch: 3, seq });
        match (self.watches.fetch_add(1, Ordering::SeqCst), request.into_inner().resume_from) {
            (0, None) => {
                let graph = Some(sample::graph());
                let snapshot = Event::Snapshot(Snapshot { position: position(8), graph });
                let items = vec![respond(snapshot), Err(Status::internal("going down"))];
                Ok(Response::new(Box::pin(tokio_stream::iter(items))))
            }
            (1, from) if from == position(8) => {
                let delta = Event::Delta(Delta {
                    position: position(9),
                    removed_edges: sample::graph().edges.into_iter().skip(1).map(|edge| edge.id).collect(),
                    ..Delta::default()
                });
                let items = tokio_stream::iter([respond(delta)]).chain(tokio_stream::pending());
                Ok(Response::new(Box::pin(items)))
            }
            (_, from) => {
                let resync = Event::Resync(Resync { reason: format!("unexpected position {from:?}") });
                Ok(Response::new(Box::pin(tokio_stream::iter([respond(resync)]))))
            }
        }
    }
}

/// More output than a pipe holds.
fn huge() -> Vec<Edge> {
    (0..20_000)
        .map(|at| Edge {
            id: format!("shop/deployment/w{at}->shop/s:80"),
            src: format!("shop/deployment/w{at}"),
            dst: "shop/s:80".into(),
            src_namespace: "shop".into(),
            dst_namespace: "shop".into(),
            ..Edge::default()
        })
        .collect()
}

pub(crate) async fn serve(api: Api) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = tonic::transport::Server::builder()
        .add_service(MeshContextServer::new(api))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    address
}

/// The command without anything of this machine's environment that could lead it elsewhere.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-mcp"));
    command
        .args(args)
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub(crate) async fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = timeout(DEADLINE, command(args).output())
        .await
        .expect("the command ends")
        .expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    (status.code().expect("no signal ended it"), text(stdout), text(stderr))
}
