//! Changing policy over gRPC. A plan is good once, so what writes is never asked twice.

use super::{Error, Mesh};
use linkerd_mcp_proto::v1::{
    ApplyPlanRequest, ApplyPlanResponse, ListChangesRequest, ListChangesResponse, PlanChangeRequest,
    PlanChangeResponse, ProposePolicyRequest, ProposePolicyResponse, RollbackChangeRequest,
    RollbackChangeResponse,
};
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take for all objects of a change.
const WRITING: Duration = Duration::from_secs(90);

impl Mesh {
    /// What a change would do.
    pub(crate) async fn plan_change(&self, request: PlanChangeRequest) -> Result<PlanChangeResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.plan_change(request).await }
        })
        .await
    }

    /// Does what was planned.
    pub(crate) async fn apply_plan(&self, request: ApplyPlanRequest) -> Result<ApplyPlanResponse, Error> {
        let mut client = self.graph.clone();
        self.once(async move { client.apply_plan(request).await }).await
    }

    /// Puts back what was there before a change.
    pub(crate) async fn rollback_change(
        &self,
        request: RollbackChangeRequest,
    ) -> Result<RollbackChangeResponse, Error> {
        let mut client = self.graph.clone();
        self.once(async move { client.rollback_change(request).await }).await
    }

    /// What was changed.
    pub(crate) async fn list_changes(
        &self,
        request: ListChangesRequest,
    ) -> Result<ListChangesResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.list_changes(request).await }
        })
        .await
    }

    /// The least policy that lets in what is seen.
    pub(crate) async fn propose_policy(
        &self,
        request: ProposePolicyRequest,
    ) -> Result<ProposePolicyResponse, Error> {
        self.ask(|| {
            let (mut client, request) = (self.graph.clone(), request.clone());
            async move { client.propose_policy(request).await }
        })
        .await
    }

    async fn once<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        let answer = timeout(WRITING, call)
            .await
            .map_err(|_| Error::NoAnswer { place: self.place.clone(), seconds: WRITING.as_secs() })?;
        answer.map(tonic::Response::into_inner).map_err(|status| self.refused(status))
    }
}
