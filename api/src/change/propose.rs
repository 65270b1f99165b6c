//! ProposePolicy.

use super::{Inner, Refusal, deed, target::is_name};
use crate::caller::Principal;
use linkerd_mcp_proto::v1;

pub(super) async fn propose(
    inner: &Inner,
    who: &Principal,
    asked: v1::ProposePolicyRequest,
) -> Result<v1::ProposePolicyResponse, Refusal> {
    if !asked.namespace.is_empty() && !is_name(&asked.namespace) {
        return Err(Refusal::Invalid("`namespace` is no name of a namespace".to_owned()));
    }
    inner.demand(who, &deed("create", "plans", &asked.namespace)).await?;
    inner.view()?;
    Err(Refusal::Unable("this version proposes nothing".to_owned()))
}
