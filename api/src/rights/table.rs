//! THE TABLE of what can be asked here, and the right that each needs.
//!
//! Nothing is answered that has no row: a method, route, tool, resource or prompt that is added needs one here, and the
//! tests below and in the modules of each surface fail until there is. `docs/authorization.md` shows it to people.

use super::{Deed, GROUP};
use std::fmt;

/// How something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Surface {
    /// A method of a gRPC service, as `service/Method`; a whole service as `service/*`.
    Grpc,
    /// A route of JSON over HTTP.
    Http,
    /// A method of the Model Context Protocol.
    Mcp,
    /// A tool.
    Tool,
    /// A resource, or a template of resources.
    Resource,
    /// A prompt.
    Prompt,
}

/// The right that is needed: a verb on a virtual resource of [`super::GROUP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Need {
    /// `get`, `list`, `watch`, `create` or `delete`.
    pub verb: &'static str,
    /// `graphs`, `policies`, `metrics`, `objects`, `plans` or `changes`.
    pub resource: &'static str,
    /// Where it has to be held.
    pub reach: Reach,
}

/// Where a right has to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// In all namespaces: what is answered cannot be told apart by namespace.
    Cluster,
    /// In one namespace or more: the answer is limited to these.
    Namespaces,
}

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// Whoever can connect, known or not: health, and what there is to ask.
    Open,
    /// Every caller that is known, because what it leads to has a row of its own, or it says nothing about the mesh.
    Known,
    /// Who has the right.
    Needs(Need),
}

/// What asking does to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing, and it prepares nothing.
    Reads,
    /// Nothing, but it says what would happen: every decision is in the audit log.
    Plans,
    /// Policy. Refused where nothing may be changed; every decision is in the audit log.
    Writes,
}

/// Something that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    /// How.
    pub surface: Surface,
    /// Its name there.
    pub name: &'static str,
    /// Who may.
    pub door: Door,
    /// What it does.
    pub effect: Effect,
}

const fn need(verb: &'static str, resource: &'static str, reach: Reach) -> Need {
    Need { verb, resource, reach }
}

/// Who calls whom, how fast, and the policy objects that the graph carries.
const GRAPH: Need = need("get", "graphs", Reach::Namespaces);
/// To be told of changes of it.
const WATCH: Need = need("watch", "graphs", Reach::Namespaces);
/// Who may call whom, and why; lint; denials.
const POLICY: Need = need("get", "policies", Reach::Namespaces);
/// PromQL. A query cannot be held to namespaces.
const METRICS: Need = need("get", "metrics", Reach::Cluster);
/// Objects of Kubernetes; the caller's own right to each is asked for besides.
const OBJECTS: Need = need("get", "objects", Reach::Namespaces);
/// To have a change tried and judged.
const PLAN: Need = need("create", "plans", Reach::Namespaces);
/// To see what was changed.
const HISTORY: Need = need("list", "changes", Reach::Namespaces);
/// To change policy; the caller's own right to each object is asked for besides.
const CHANGE: Need = need("create", "changes", Reach::Namespaces);
/// To undo a change.
const UNDO: Need = need("delete", "changes", Reach::Namespaces);

const fn reads(surface: Surface, name: &'static str, need: Need) -> Row {
    Row { surface, name, door: Door::Needs(need), effect: Effect::Reads }
}

const fn plans(surface: Surface, name: &'static str, need: Need) -> Row {
    Row { surface, name, door: Door::Needs(need), effect: Effect::Plans }
}

const fn writes(surface: Surface, name: &'static str, need: Need) -> Row {
    Row { surface, name, door: Door::Needs(need), effect: Effect::Writes }
}

const fn known(surface: Surface, name: &'static str) -> Row {
    Row { surface, name, door: Door::Known, effect: Effect::Reads }
}

const fn open(surface: Surface, name: &'static str) -> Row {
    Row { surface, name, door: Door::Open, effect: Effect::Reads }
}

use Surface::{Grpc, Http, Mcp, Prompt, Resource, Tool};

/// Everything that can be asked.
pub const TABLE: &[Row] = &[
    reads(Grpc, "mcp.v1.MeshContext/GetMeshGraph", GRAPH),
    reads(Grpc, "mcp.v1.MeshContext/GetCallGraph", GRAPH),
    reads(Grpc, "mcp.v1.MeshContext/WatchMeshGraph", WATCH),
    reads(Grpc, "mcp.v1.MeshContext/CheckAccess", POLICY),
    reads(Grpc, "mcp.v1.MeshContext/ListAccess", POLICY),
    reads(Grpc, "mcp.v1.MeshContext/ExplainDenials", POLICY),
    reads(Grpc, "mcp.v1.MeshContext/LintPolicies", POLICY),
    reads(Grpc, "mcp.v1.MeshContext/ResolvePolicy", POLICY),
    reads(Grpc, "mcp.v1.MeshContext/CompareEndpoints", GRAPH),
    plans(Grpc, "mcp.v1.MeshContext/PlanChange", PLAN),
    plans(Grpc, "mcp.v1.MeshContext/ProposePolicy", PLAN),
    writes(Grpc, "mcp.v1.MeshContext/ApplyPlan", CHANGE),
    writes(Grpc, "mcp.v1.MeshContext/ApplyAuthorizationPolicy", CHANGE),
    writes(Grpc, "mcp.v1.MeshContext/ApplyHTTPRoute", CHANGE),
    writes(Grpc, "mcp.v1.MeshContext/RollbackChange", UNDO),
    reads(Grpc, "mcp.v1.MeshContext/ListChanges", HISTORY),
    open(Grpc, "grpc.health.v1.Health/*"),
    open(Grpc, "grpc.reflection.v1.ServerReflection/*"),
    open(Grpc, "grpc.reflection.v1alpha.ServerReflection/*"),
    reads(Http, "/v1/graph", GRAPH),
    reads(Http, "/v1/callgraph", GRAPH),
    reads(Http, "/v1/access", POLICY),
    reads(Http, "/v1/access/list", POLICY),
    reads(Http, "/v1/denials", POLICY),
    reads(Http, "/v1/lint", POLICY),
    reads(Http, "/v1/policy", POLICY),
    reads(Http, "/v1/endpoints", GRAPH),
    reads(Http, "/v1/changes", HISTORY),
    plans(Http, "POST /v1/plans", PLAN),
    plans(Http, "POST /v1/proposals", PLAN),
    writes(Http, "POST /v1/changes", CHANGE),
    writes(Http, "POST /v1/changes/{id}/rollback", UNDO),
    known(Http, "/mcp"),
    open(Http, "/.well-known/oauth-protected-resource"),
    open(Http, "/.well-known/oauth-protected-resource/mcp"),
    known(Mcp, "initialize"),
    known(Mcp, "ping"),
    known(Mcp, "server/discover"),
    known(Mcp, "logging/setLevel"),
    known(Mcp, "tools/list"),
    known(Mcp, "tools/call"),
    known(Mcp, "prompts/list"),
    known(Mcp, "prompts/get"),
    known(Mcp, "resources/list"),
    known(Mcp, "resources/templates/list"),
    known(Mcp, "resources/read"),
    known(Mcp, "completion/complete"),
    reads(Mcp, "resources/subscribe", WATCH),
    known(Mcp, "resources/unsubscribe"),
    reads(Mcp, "subscriptions/listen", WATCH),
    reads(Tool, "get_mesh_overview", GRAPH),
    reads(Tool, "find_problems", GRAPH),
    reads(Tool, "get_graph", GRAPH),
    reads(Tool, "describe_workload", GRAPH),
    reads(Tool, "find_edges", GRAPH),
    reads(Tool, "compare_traffic", GRAPH),
    reads(Tool, "check_access", POLICY),
    reads(Tool, "list_access", POLICY),
    reads(Tool, "explain_denials", POLICY),
    reads(Tool, "get_policies", POLICY),
    reads(Tool, "query_prometheus", METRICS),
    reads(Tool, "get_pods", OBJECTS),
    reads(Tool, "get_services", OBJECTS),
    reads(Tool, "get_deployments", OBJECTS),
    reads(Tool, "describe_resource", OBJECTS),
    plans(Tool, "plan_policy", PLAN),
    plans(Tool, "simulate_policy", PLAN),
    plans(Tool, "propose_policy", PLAN),
    writes(Tool, "apply_plan", CHANGE),
    writes(Tool, "rollback_change", UNDO),
    reads(Tool, "list_changes", HISTORY),
    reads(Resource, "mesh://graph", GRAPH),
    reads(Resource, "mesh://namespaces/{namespace}", GRAPH),
    reads(Resource, "mesh://services/{namespace}/{name}", GRAPH),
    reads(Resource, "mesh://workloads/{namespace}/{kind}/{name}", GRAPH),
    reads(Resource, "mesh://policies/{kind}/{namespace}/{name}", GRAPH),
    reads(Prompt, "investigate_slowness", GRAPH),
    reads(Prompt, "investigate_denial", POLICY),
    reads(Prompt, "check_default_deny_readiness", POLICY),
    reads(Prompt, "summarize_changes", GRAPH),
    reads(Prompt, "check_mtls_coverage", GRAPH),
];

/// The row of something that can be asked.
pub fn row(surface: Surface, name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.surface == surface && row.name == name)
}

// === impl Need ===

impl Need {
    /// It in the words of RBAC; without a namespace, in all of them.
    pub fn deed(self, namespace: Option<&str>) -> Deed {
        Deed::ours(self.verb, self.resource, namespace)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{GROUP}", self.verb, self.resource)
    }
}

// === impl Row ===

impl Row {
    /// True when every decision about it is in the audit log, and not only refusals.
    pub fn bears_on_change(&self) -> bool {
        self.effect != Effect::Reads
    }
}

// === impl Surface ===

impl Surface {
    /// For logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Mcp => "mcp",
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use std::collections::BTreeSet;

    fn names(surface: Surface) -> BTreeSet<&'static str> {
        TABLE.iter().filter(|row| row.surface == surface).map(|row| row.name).collect()
    }

    #[test]
    fn nothing_is_in_the_table_twice() {
        let all: BTreeSet<_> = TABLE.iter().map(|row| (row.surface, row.name)).collect();
        assert_eq!(all.len(), TABLE.len());
    }

    #[test]
    fn every_method_of_the_protocol_buffers_has_a_row_and_no_other_is_ours() {
        let set = prost_types::FileDescriptorSet::decode(linkerd_mcp_proto::FILE_DESCRIPTOR_SET).unwrap();
        let methods: BTreeSet<String> = set
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
            .flat_map(|(package, service)| {
                let name = format!("{package}.{}", service.name());
                service.method.iter().map(move |method| format!("{name}/{}", method.name()))
            })
            .collect();
        assert!(methods.len() > 10, "{methods:?}");
        let ours = names(Surface::Grpc).into_iter().filter(|name| !name.ends_with("/*"));
        assert_eq!(ours.map(str::to_owned).collect::<BTreeSet<_>>(), methods);
    }

    #[test]
    fn every_route_has_a_row_and_no_row_is_without_a_route() {
        let routes = crate::http::ROUTES.iter().map(|(path, _)| *path).chain([crate::mcp::PATH]);
        let routes = routes.chain(crate::caller::oauth::metadata::PATHS);
        let rows = names(Surface::Http).into_iter().map(|name| name.trim_start_matches("POST "));
        assert_eq!(rows.collect::<BTreeSet<_>>(), routes.collect());
    }

    #[test]
    fn every_tool_resource_and_prompt_has_a_row() {
        let missing = |surface, all: Vec<&'static str>| {
            let rows = names(surface);
            all.into_iter().filter(|name| !rows.contains(name)).collect::<Vec<_>>()
        };
        let asked = crate::mcp::asked();
        assert_eq!(missing(Surface::Tool, asked.tools), Vec::<&str>::new());
        assert_eq!(names(Surface::Resource), asked.resources.into_iter().collect());
        assert_eq!(names(Surface::Prompt), asked.prompts.into_iter().collect());
    }

    #[test]
    fn every_method_that_the_endpoint_counts_has_a_row() {
        let source = include_str!("../mcp/server.rs");
        let counted = source.split("measured(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let counted: BTreeSet<&str> = counted.collect();
        assert!(counted.len() > 8, "{counted:?}");
        let rows = names(Surface::Mcp);
        assert_eq!(
            counted.into_iter().filter(|it| !rows.contains(it)).collect::<Vec<_>>(),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn what_writes_needs_a_verb_that_writes() {
        for row in TABLE {
            let Door::Needs(need) = row.door else {
                assert_eq!(row.effect, Effect::Reads, "{}", row.name);
                continue;
            };
            let writes = ["create", "delete"].contains(&need.verb) && need.resource == "changes";
            assert_eq!(row.effect == Effect::Writes, writes, "{}", row.name);
        }
    }
}
