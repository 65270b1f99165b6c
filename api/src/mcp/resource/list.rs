//! What resources there are, a page at a time.

use super::uri::{NAMESPACES, POLICIES, SERVICES, Uri, WORKLOADS};
use crate::{
    mcp::page::{Detail, Paging},
    view::View,
};
use rmcp::{
    ErrorData,
    model::{Annotations, PaginatedRequestParams, Resource, ResourceTemplate},
};

/// The most that are listed: clients that want a list want all of it. What is beyond has a template.
const MAX: usize = 1_000;

/// Rows of a page, where its bytes do not end it before.
const PAGE: u32 = 100;

const JSON: &str = "application/json";

/// The graph, then namespaces, then workloads, each in the order of their names. `changed` knows when something last
/// happened to one, as RFC 3339.
pub(crate) fn all(view: Option<&View>, changed: impl Fn(&Uri) -> Option<String>) -> Vec<Resource> {
    let as_of = view.map(|view| super::date(view.as_of_ms));
    let graph = Resource::new(Uri::Graph.to_string(), "graph")
        .with_title("The mesh")
        .with_description(
            "The whole Linkerd mesh in short: how much there is, how healthy and how fresh, namespaces and the \
             busiest calls.",
        )
        .with_mime_type(JSON);
    let mut all = vec![dated(graph, as_of)];
    let Some(view) = view else { return all };
    let namespaces = view.graph.namespaces.keys().map(|name| Uri::Namespace(name.clone()));
    let workloads = view.graph.workloads.keys().map(|id| Uri::Workload(id.clone()));
    for uri in namespaces.chain(workloads).take(MAX - 1) {
        let name = match &uri {
            Uri::Namespace(name) => crate::mcp::text::data(name),
            other => crate::mcp::text::data(other.to_string().trim_start_matches("mesh://workloads/")),
        };
        let resource = Resource::new(uri.to_string(), name).with_mime_type(JSON);
        all.push(dated(resource, changed(&uri)));
    }
    all
}

fn dated(mut resource: Resource, last_modified: Option<String>) -> Resource {
    if last_modified.is_some() {
        let mut annotations = Annotations::default();
        annotations.last_modified = last_modified;
        resource.annotations = Some(annotations);
    }
    resource
}

/// The forms of the URIs of all that can be read.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let template = |uri: &str, name: &str, title: &str, description: &str| {
        ResourceTemplate::new(uri, name).with_title(title).with_description(description).with_mime_type(JSON)
    };
    vec![
        template(
            NAMESPACES,
            "namespace",
            "A namespace",
            "Its Services and workloads, how much of it is meshed, its policies and its busiest calls.",
        ),
        template(
            WORKLOADS,
            "workload",
            "A workload",
            "Pods, identity, ports, the policies on it, who calls it and whom it calls, with numbers. The kind is in \
             lower case, as in mesh://workloads/shop/deployment/web.",
        ),
        template(
            SERVICES,
            "service",
            "A Service",
            "Ports, the workloads behind it, who calls it and whom they call, with numbers.",
        ),
        template(
            POLICIES,
            "policy",
            "A policy object or route",
            "Its spec and what it bears on. The kind is in lower case, as in mesh://policies/server/shop/web; \
             HTTPRoutes are httproute.policy.linkerd.io or httproute.gateway.networking.k8s.io.",
        ),
    ]
}

/// One page of a list, and the cursor of the next.
///
/// # Errors
///
/// When the cursor is not one of this list.
pub(crate) fn page(
    all: &[Resource],
    request: Option<PaginatedRequestParams>,
) -> Result<(Vec<Resource>, Option<String>), ErrorData> {
    let cursor = request.and_then(|it| it.cursor);
    let paging = Paging { limit: Some(PAGE), cursor, detail: Detail::Full };
    let (rows, page) = paging.rows("resources/list", all, Clone::clone).map_err(|_| {
        ErrorData::invalid_params("there is no such cursor: leave it out to start over", None)
    })?;
    Ok((rows, page.next_cursor))
}
