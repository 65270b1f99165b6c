//! Everything about one workload, Service or destination outside.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed, effect::Effect, find_edges::EdgeRow, input, output,
};
use crate::{
    answer::Refusal,
    mcp::{
        change::Changes,
        history::Moment,
        page::Detail,
        share::{Rows, Share},
        text::{data, number, quoted},
    },
    view::View,
};
use linkerd_mcp_graph::{
    id::{PolicyId, WorkloadId},
    kind::Kind,
    model::{Meshed, Service, Workload},
    query::{
        Node, Rollup, bearing,
        edges::{self, EdgeRef, Rank},
        resolve_node,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, time::Duration};

pub(super) const TOOL: Tool = Tool {
    name: "describe_workload",
    title: "Describe a workload or Service",
    description: "Everything about one workload, Service or external destination: who calls it and whom it calls, with \
                  rates, success and latency, its mesh identity, ports, how much of it is meshed, the Servers, policies \
                  and routes that bear on it, and what changed in the last ten minutes. Use it for \"what about X\", \
                  \"why is X slow or failing\", \"who depends on X\". For who may call it use list_access.",
    set: Toolset::Mesh,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Described>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Arguments {
    /// What to describe: `namespace/service`, `namespace/deployment/name` or `external:host:port`. Example: `shop/cart`.
    name: String,
    /// Where a name without a namespace is.
    namespace: Option<String>,
    /// `concise` or `full`.
    #[serde(default)]
    detail: Detail,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Described {
    /// What was meant, in full.
    name: String,
    /// `service`, `external`, or the kind of the workload.
    kind: String,
    /// How many of its pods have a proxy: `all`, `some` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    meshed: Option<MeshedShare>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<Pods>,
    /// The mesh identity of its pods, or those of the workloads behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    identities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account: Option<String>,
    /// What is let in where no Server is, by annotation; absent means the cluster's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_inbound_policy: Option<String>,
    /// `namespace/name@cluster` of the Service that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror_of: Option<String>,
    /// A ServiceProfile takes precedence over its routes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    service_profile: bool,
    /// Its ports.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    ports: Rows<Port>,
    /// The workloads behind a Service, or the Services before a workload.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    stands_for: Rows<String>,
    /// What it receives. Absent where calls may have been answered by others too.
    #[serde(skip_serializing_if = "Option::is_none")]
    receives: Option<Traffic>,
    /// What it calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    sends: Option<Traffic>,
    /// Who calls it, the busiest first.
    callers: Rows<EdgeRow>,
    /// Whom it calls, or the workloads behind it do; the busiest first.
    callees: Rows<EdgeRow>,
    /// Servers that select its ports.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    servers: Rows<String>,
    /// Other policy objects that bear on it.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    policies: Rows<String>,
    /// Routes of its Servers and Services.
    #[serde(skip_serializing_if = "Rows::is_empty")]
    routes: Rows<String>,
    /// What is different from a while ago; absent until a minute of history is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Changes>,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum MeshedShare {
    All,
    Some,
    None,
}

#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
struct Pods {
    total: u32,
    /// With a proxy.
    meshed: u32,
    ready: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Port {
    port: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    /// `TCP`, `UDP` or `SCTP`.
    protocol: String,
    /// Where a Service sends calls: number or name of the pod's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Marked as opaque: proxies do not look into it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    opaque: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Traffic {
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
    /// Share of them that succeeded, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_rate: Option<f64>,
    /// Denied per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_per_s: Option<f64>,
}

/// How far back changes are told.
const BACK: Duration = Duration::from_secs(600);
/// The most identities that are told.
const MAX_IDENTITIES: usize = 4;

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let arguments: Arguments = call.arguments()?;
    if arguments.name.is_empty() {
        let hint = "`name` is required: namespace/service or namespace/deployment/name, such as shop/cart";
        return Err(ToolError::Arguments(hint.to_owned()));
    }
    let view = call.view()?;
    let namespace = arguments.namespace.as_deref();
    let node = resolve_node(&view.graph, &arguments.name, namespace).map_err(Refusal::Name)?;
    let moment = call.context.history.ago(BACK);
    let described = describe(&view, &node, moment.as_deref(), arguments.detail);
    Ok(call.dated(&view, described))
}

fn describe(view: &View, node: &Node, before: Option<&Moment>, detail: Detail) -> Described {
    let (graph, mut share) = (&*view.graph, Share::of(detail));
    let mut it = Described::named(node);
    let behind: Vec<(&WorkloadId, &Workload)> = match node {
        Node::Workload(id) => {
            graph.workloads.get_key_value(id).map(|(id, it)| (id, &**it)).into_iter().collect()
        }
        Node::Service(id) => {
            let ids = graph.services.get(id).map(|it| it.workloads.as_slice()).unwrap_or_default();
            ids.iter().filter_map(|id| Some((id, &**graph.workloads.get(id)?))).collect()
        }
        Node::External(_) => Vec::new(),
    };
    match node {
        Node::Service(id) => {
            if let Some(service) = graph.services.get(id) {
                it.of_service(service, &mut share);
            }
        }
        Node::Workload(_) => {
            if let [(_, workload)] = behind.as_slice() {
                it.of_workload(workload, &mut share);
            }
        }
        Node::External(_) => {}
    }
    it.of_pods(&behind);
    share.spend(&it);

    let policies = bearing::bearing_on(graph, node);
    let of = |wanted: fn(&PolicyId, Kind) -> bool| -> Vec<&PolicyId> {
        policies.iter().filter(|(id, it)| wanted(id, it.kind)).map(|(id, _)| id).collect()
    };
    let text = |id: &PolicyId| data(id.as_str());
    it.servers = share.rows(8, of(|_, kind| kind == Kind::Server), text);
    it.policies = share.rows(12, of(|_, kind| kind != Kind::Server && !bearing::is_route(kind)), text);
    it.routes = share.rows(8, of(|_, kind| bearing::is_route(kind)), text);

    it.changes = before.map(|moment| Changes::of(&moment.compare_node(view, node), moment, &mut share, 5));
    let (to, from) = (edges::to(graph, &view.index, node), edges::from(graph, node));
    let rollup = rollup(view, node, &to, &from);
    (it.receives, it.sends) = (Traffic::of(&rollup.inbound), Traffic::of(&rollup.outbound));
    // What callers leave is there for the others.
    let half = share.left() * 50 / detail.bytes();
    it.callers = share.rows(half, busiest(view, to), |edge| EdgeRow::of(view, edge));
    it.callees = share.rows(100, busiest(view, from), |edge| EdgeRow::of(view, edge));
    it
}

fn rollup<'a>(
    view: &'a View,
    node: &Node,
    to: &[EdgeRef<'a>],
    from: &[EdgeRef<'a>],
) -> linkerd_mcp_graph::query::NodeRollup {
    let mut around: Vec<EdgeRef<'a>> = to.iter().chain(from).copied().collect();
    around.sort_unstable_by_key(|(id, _)| *id);
    around.dedup_by(|(a, _), (b, _)| a == b);
    let sums = linkerd_mcp_graph::query::Rollups::of(edges::numbered(around, &view.metrics));
    sums.get(node.key())
}

fn busiest<'a>(view: &'a View, edges: Vec<EdgeRef<'a>>) -> Vec<EdgeRef<'a>> {
    let value = |(id, _): &EdgeRef<'a>| view.metrics.get(id).and_then(|it| Rank::Rps.of(it)).unwrap_or(-1.0);
    let mut ranked: Vec<(f64, EdgeRef<'a>)> = edges.into_iter().map(|edge| (value(&edge), edge)).collect();
    ranked.sort_by(|(x, (a, _)), (y, (b, _))| y.total_cmp(x).then_with(|| a.cmp(b)));
    ranked.into_iter().map(|(_, edge)| edge).collect()
}

// === impl MeshedShare ===

impl MeshedShare {
    pub(super) fn of(meshed: Meshed) -> Self {
        match meshed {
            Meshed::All => Self::All,
            Meshed::Some => Self::Some,
            Meshed::None => Self::None,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Some => "some",
            Self::None => "none",
        }
    }
}

// === impl Traffic ===

impl Traffic {
    fn of(rollup: &Rollup) -> Option<Self> {
        let round = |rate: f64| (rate * 10_000.0).round() / 10_000.0;
        (!rollup.is_empty()).then(|| Self {
            rps: rollup.rps.map(number),
            success_rate: rollup.success_rate.map(round),
            denied_per_s: rollup.denied.filter(|it| *it > 0.0).map(number),
        })
    }

    fn text(&self, what: &str) -> String {
        let mut line = what.to_owned();
        // Writing to a String does not fail.
        match self.rps {
            Some(rps) => {
                let _ = write!(line, " {rps} rps");
            }
            None => line.push_str(" no requests that were counted"),
        }
        if let Some(rate) = self.success_rate {
            let _ = write!(line, ", {}% ok", number(rate * 100.0));
        }
        if let Some(denied) = self.denied_per_s {
            let _ = write!(line, ", DENIED {denied}/s");
        }
        line + "\n"
    }
}

// === impl Described ===

impl Described {
    fn named(node: &Node) -> Self {
        Self {
            name: data(&node.to_string()),
            kind: match node {
                Node::Service(_) => "service".to_owned(),
                Node::Workload(id) => data(id.kind()),
                Node::External(_) => "external".to_owned(),
            },
            meshed: None,
            pods: None,
            identities: Vec::new(),
            service_account: None,
            default_inbound_policy: None,
            mirror_of: None,
            service_profile: false,
            ports: Rows::default(),
            stands_for: Rows::default(),
            receives: None,
            sends: None,
            callers: Rows::default(),
            callees: Rows::default(),
            servers: Rows::default(),
            policies: Rows::default(),
            routes: Rows::default(),
            changes: None,
        }
    }

    fn of_service(&mut self, service: &Service, share: &mut Share) {
        self.meshed = (!service.workloads.is_empty()).then(|| MeshedShare::of(service.meshed));
        self.mirror_of = service.mirror_of.as_deref().map(data);
        self.service_profile = service.service_profile;
        self.stands_for = share.rows(8, &service.workloads, |id| data(id.as_str()));
        self.ports = share.rows(10, &service.ports, |port| Port {
            port: port.port,
            name: data(&port.name),
            protocol: data(&port.protocol),
            target: Some(data(&port.target)),
            opaque: port.opaque,
        });
    }

    fn of_workload(&mut self, workload: &Workload, share: &mut Share) {
        self.meshed = Some(MeshedShare::of(workload.meshed));
        self.service_account =
            (!workload.service_account.is_empty()).then(|| data(&workload.service_account));
        self.default_inbound_policy = workload.default_inbound_policy.as_deref().map(data);
        self.stands_for = share.rows(8, &workload.services, |id| data(id.as_str()));
        self.ports = share.rows(10, &workload.ports, |port| Port {
            port: port.port,
            name: data(&port.name),
            protocol: data(&port.protocol),
            target: None,
            opaque: false,
        });
    }

    fn of_pods(&mut self, behind: &[(&WorkloadId, &Workload)]) {
        let mut pods = Pods::default();
        for (_, workload) in behind {
            pods.total += workload.pods;
            pods.meshed += workload.pods_meshed;
            pods.ready += workload.pods_ready;
        }
        self.pods = (!behind.is_empty()).then_some(pods);
        let mut identities: Vec<String> =
            behind.iter().filter_map(|(_, it)| it.identity.as_deref()).map(data).collect();
        identities.sort();
        identities.dedup();
        identities.truncate(MAX_IDENTITIES);
        self.identities = identities;
    }
}

impl Output for Described {
    fn text(&self) -> String {
        let mut text = format!("{}: {}", quoted(&self.name), quoted(&self.kind));
        // Writing to a String does not fail.
        if let Some(meshed) = self.meshed {
            let _ = write!(text, ", {} of its pods meshed", meshed.word());
        }
        if let Some(pods) = self.pods {
            let _ = write!(text, ", {} pods ({} meshed, {} ready)", pods.total, pods.meshed, pods.ready);
        }
        text.push('\n');
        for (what, value) in [
            ("ServiceAccount", &self.service_account),
            ("Default inbound policy", &self.default_inbound_policy),
            ("Stands for the Service", &self.mirror_of),
        ] {
            if let Some(value) = value {
                let _ = writeln!(text, "{what}: {}", quoted(value));
            }
        }
        if self.service_profile {
            text.push_str("A ServiceProfile takes precedence over its routes.\n");
        }
        list(&mut text, "Identities", &self.identities, 0);
        let port = |it: &Port| {
            let mut port = format!("{}", it.port);
            for word in [&it.name, it.target.as_ref().unwrap_or(&it.protocol)] {
                if !word.is_empty() {
                    let _ = write!(port, " {}", quoted(word));
                }
            }
            if it.opaque { port + " opaque" } else { port }
        };
        let ports: Vec<String> = self.ports.rows.iter().map(port).collect();
        if !ports.is_empty() {
            let _ = writeln!(text, "Ports: {}{}", ports.join(", "), and_more(self.ports.more()));
        }
        let other = if self.kind == "service" { "Behind it" } else { "Services" };
        list(&mut text, other, &self.stands_for.rows, self.stands_for.more());
        for (what, traffic) in [("Receives", &self.receives), ("Sends", &self.sends)] {
            if let Some(traffic) = traffic {
                text.push_str(&traffic.text(what));
            }
        }
        for (what, rows) in [("Called by", &self.callers), ("Calls", &self.callees)] {
            let _ = writeln!(text, "{what} {}:", rows.total);
            text.extend(rows.rows.iter().map(|edge| format!("  {}\n", edge.line())));
            text.push_str(&rows.rest());
        }
        for (what, rows) in
            [("Servers", &self.servers), ("Policies", &self.policies), ("Routes", &self.routes)]
        {
            list(&mut text, what, &rows.rows, rows.more());
        }
        if let Some(changes) = &self.changes {
            text.push_str(&changes.text());
        }
        text
    }
}

/// A line with the names of a list; none for an empty one.
pub(super) fn list(text: &mut String, what: &str, names: &[String], more: usize) {
    if !names.is_empty() {
        let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
        let _ = writeln!(text, "{what}: {}{}", names.join(", "), and_more(more));
    }
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" and {more} more") }
}
