//! Lets requests through to the JSON routes, each to what its caller may see.

use super::{Json, Problem};
use crate::{
    authorization::Granted,
    rights::table::{Surface, row},
};
use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, request::Parts};
use std::sync::Arc;

/// What a handler answers from: the state, with the part of the mesh that the caller may see. There is no other way to it.
#[derive(Debug)]
pub(super) struct Scoped(pub(super) Json);

/// The layer of all JSON routes.
pub(super) async fn check(State(state): State<Json>, mut request: Request, next: Next) -> Response {
    let Some(name) = name(&request) else { return super::not_allowed().await.into_response() };
    let asker = state.authorization.asker(request.extensions(), request.headers());
    match state.authorization.admit(Surface::Http, &name, &asker, &state.replica).await {
        Ok(granted) => {
            request.extensions_mut().insert(Arc::new(granted));
            next.run(request).await
        }
        Err(refused) => Problem::from(refused).into_response(),
    }
}

/// The name of what is asked in the table of rights: the route as it is written, with `POST` before it for what is
/// posted. None for a method that the route has not.
fn name(request: &Request) -> Option<String> {
    let route = request.extensions().get::<MatchedPath>()?.as_str();
    let name = match *request.method() {
        Method::POST => format!("POST {route}"),
        _ => route.to_owned(),
    };
    row(Surface::Http, &name).is_some().then_some(name)
}

impl FromRequestParts<Json> for Scoped {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Json) -> Result<Self, Problem> {
        let Some(granted) = parts.extensions.get::<Arc<Granted>>() else {
            return Err(Problem {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                error: "nothing was granted to this request".to_owned(),
                hint: "this is a defect of linkerd-mcp".to_owned(),
            });
        };
        Ok(Self(Json { replica: state.replica.scoped(&granted.scope), ..state.clone() }))
    }
}
