//! What an argument could be: names from the mesh that begin with what is typed, of what was chosen before.

use super::resource::content::policies;
use crate::view::View;
use linkerd_mcp_graph::model::Graph;
use rmcp::{
    ErrorData,
    model::{CompleteRequestParams, CompleteResult, CompletionInfo},
};
use std::collections::{BTreeSet, HashMap};

/// What an argument is chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Names of namespaces.
    Namespace,
    /// `namespace/kind/name` of workloads, then `namespace/name` of Services.
    WorkloadOrService,
    /// `namespace/kind/name` of workloads.
    Client,
    /// `namespace/name:port` of Services, then workloads with their ports.
    Server,
    /// Kinds of workloads, of a namespace when one is chosen.
    WorkloadKind,
    /// Names of workloads, of a namespace and a kind when these are chosen.
    WorkloadName,
    /// Names of Services, of a namespace when one is chosen.
    ServiceName,
    /// Namespaces with policy objects or routes, of a kind when one is chosen.
    PolicyNamespace,
    /// Kinds of policy objects and routes.
    PolicyKind,
    /// Names of policy objects, of a kind and a namespace when these are chosen.
    PolicyName,
    /// These.
    Of(&'static [&'static str]),
}

/// Namespaces, kinds and names chosen before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chosen<'a> {
    pub(crate) namespace: Option<&'a str>,
    pub(crate) kind: Option<&'a str>,
}

/// What begins with `typed`, in order and once each. Where nothing does, what has a name after a slash that does.
pub(crate) fn complete(graph: &Graph, choice: Choice, typed: &str, chosen: Chosen<'_>) -> Vec<String> {
    let all = values(graph, choice, chosen);
    let begins: Vec<String> = all.iter().filter(|it| it.starts_with(typed)).cloned().collect();
    if !begins.is_empty() || typed.contains('/') {
        return begins;
    }
    all.into_iter().filter(|it| it.rsplit('/').next().is_some_and(|name| name.starts_with(typed))).collect()
}

fn values(graph: &Graph, choice: Choice, chosen: Chosen<'_>) -> Vec<String> {
    let here = |namespace: &str| chosen.namespace.is_none_or(|it| it == namespace);
    let of_kind = |kind: &str| chosen.kind.is_none_or(|it| it == kind);
    let workloads = || graph.workloads.iter().filter(|(id, _)| here(id.namespace()));
    let services = || graph.services.iter().filter(|(id, _)| here(id.namespace()));
    let policies = || policies(graph).filter(|id| here(id.namespace()));
    match choice {
        Choice::Namespace => graph.namespaces.keys().map(ToString::to_string).collect(),
        Choice::WorkloadOrService => {
            let workloads = workloads().map(|(id, _)| id.to_string());
            workloads.chain(services().map(|(id, _)| id.to_string())).collect()
        }
        Choice::Client => workloads().map(|(id, _)| id.to_string()).collect(),
        Choice::Server => {
            let services = services()
                .flat_map(|(id, it)| it.ports.iter().map(move |port| format!("{id}:{}", port.port)));
            let workloads = workloads()
                .flat_map(|(id, it)| it.ports.iter().map(move |port| format!("{id}:{}", port.port)));
            services.chain(workloads).collect()
        }
        Choice::WorkloadKind => once(workloads().map(|(id, _)| id.kind().to_owned())),
        Choice::WorkloadName => {
            once(workloads().filter(|(id, _)| of_kind(id.kind())).map(|(id, _)| id.name().to_owned()))
        }
        Choice::ServiceName => once(services().map(|(id, _)| id.name().to_owned())),
        Choice::PolicyNamespace => {
            once(policies().filter(|id| of_kind(id.kind())).map(|id| id.namespace().to_owned()))
        }
        Choice::PolicyKind => once(policies().map(|id| id.kind().to_owned())),
        Choice::PolicyName => once(policies().filter(|id| of_kind(id.kind())).map(|id| id.name().to_owned())),
        Choice::Of(values) => values.iter().map(ToString::to_string).collect(),
    }
}

fn once(values: impl Iterator<Item = String>) -> Vec<String> {
    values.collect::<BTreeSet<String>>().into_iter().collect()
}

/// The answer to a request whose argument is one of `arguments`.
///
/// # Errors
///
/// When it is none of them.
pub(crate) fn answer(
    view: Option<&View>,
    arguments: &[(&'static str, Choice)],
    request: &CompleteRequestParams,
) -> Result<CompleteResult, ErrorData> {
    let Some((_, choice)) = arguments.iter().find(|(name, _)| *name == request.argument.name) else {
        let names: Vec<&str> = arguments.iter().map(|(name, _)| *name).collect();
        let message = match names.as_slice() {
            [] => "it has no arguments".to_owned(),
            names => format!("there is no such argument; there are {}", names.join(", ")),
        };
        return Err(ErrorData::invalid_params(message, None));
    };
    // Without a graph there is nothing yet that an argument could be.
    let all = match view {
        Some(view) => complete(&view.graph, *choice, &request.argument.value, chosen(request)),
        None => Vec::new(),
    };
    let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let values: Vec<String> =
        all.iter().take(CompletionInfo::MAX_VALUES).map(|it| super::text::data(it)).collect();
    let more = all.len() > values.len();
    let info = CompletionInfo::with_pagination(values, Some(total), more)
        .map_err(|error| ErrorData::internal_error(error, None))?;
    Ok(CompleteResult::new(info))
}

fn chosen(request: &CompleteRequestParams) -> Chosen<'_> {
    let given: Option<&HashMap<String, String>> =
        request.context.as_ref().and_then(|it| it.arguments.as_ref());
    let field = |name: &str| {
        let value = given?.get(name)?.as_str();
        // What is being completed does not narrow itself, and an empty choice is none.
        (!value.is_empty() && request.argument.name != name).then_some(value)
    };
    Chosen { namespace: field("namespace"), kind: field("kind") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd_mcp_graph::model::{Namespace, Service, ServicePort, Workload};
    use std::sync::Arc;

    fn mk_graph() -> Graph {
        let mut graph = Graph::default();
        for name in ["bank", "shop", "shop-test"] {
            graph.namespaces.insert(name.into(), Arc::new(Namespace::default()));
        }
        for id in ["bank/deployment/till", "shop/deployment/cart", "shop/job/carts", "shop/deployment/web"] {
            graph.workloads.insert(id.parse().unwrap(), Arc::new(Workload::default()));
        }
        let port = ServicePort {
            port: 80,
            name: "http".into(),
            protocol: "TCP".into(),
            target: "http".into(),
            opaque: false,
        };
        let cart = Service { ports: vec![port], ..Service::default() };
        graph.services.insert("shop/cart".parse().unwrap(), Arc::new(cart));
        graph
    }

    fn of(choice: Choice, typed: &str) -> Vec<String> {
        complete(&mk_graph(), choice, typed, Chosen::default())
    }

    #[test]
    fn values_begin_with_what_is_typed() {
        assert_eq!(of(Choice::Namespace, ""), ["bank", "shop", "shop-test"]);
        assert_eq!(of(Choice::Namespace, "shop"), ["shop", "shop-test"]);
        assert_eq!(of(Choice::Namespace, "Shop"), Vec::<String>::new());
        assert_eq!(of(Choice::WorkloadKind, ""), ["deployment", "job"]);
        assert_eq!(of(Choice::ServiceName, "c"), ["cart"]);
        assert_eq!(of(Choice::Server, "shop/c"), ["shop/cart:80"]);
        assert_eq!(of(Choice::Of(&["5", "15", "60"]), "1"), ["15"]);
    }

    #[test]
    fn a_name_without_its_namespace_finds_what_has_it() {
        let all = ["shop/deployment/cart", "shop/job/carts", "shop/cart"];
        assert_eq!(of(Choice::WorkloadOrService, "cart"), all);
        assert_eq!(of(Choice::WorkloadOrService, "shop/cart"), ["shop/cart"]);
        assert_eq!(of(Choice::Client, "shop/cart"), Vec::<String>::new());
    }

    #[test]
    fn what_was_chosen_before_narrows() {
        let shop = Chosen { namespace: Some("shop"), kind: None };
        let jobs = Chosen { kind: Some("job"), ..shop };
        assert_eq!(complete(&mk_graph(), Choice::WorkloadName, "", shop), ["cart", "carts", "web"]);
        assert_eq!(complete(&mk_graph(), Choice::WorkloadName, "", jobs), ["carts"]);
        let none = Chosen { namespace: Some("none"), kind: None };
        assert_eq!(complete(&mk_graph(), Choice::WorkloadKind, "", none), Vec::<String>::new());
    }
}
