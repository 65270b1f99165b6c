//! Who may call this, what may this call, or who may call what in a namespace.

use super::{
    Answer, Call, Output, Tool, ToolError, Toolset, boxed, check_access::word, effect::Effect, input, output,
};
use crate::{
    access,
    answer::Refusal,
    mcp::{
        page::{Page, Paging},
        share::{Rows, Share},
        text::{data, number, quoted},
    },
};
use linkerd_mcp_proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

pub(super) const TOOL: Tool = Tool {
    name: "list_access",
    title: "Who may call whom",
    description: "Lists, as Linkerd's proxies would decide, who may call a Service or workload (`to`), what a client may \
                  call (`from`), or both for a whole namespace: for each port to whom it is open and by which \
                  authorization, and for each known workload whether it is allowed or denied, with the traffic seen now. \
                  Use it for \"who can reach X\", \"what can X reach\", \"is namespace N open\". For one call with its \
                  reasons use check_access.",
    set: Toolset::Policy,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Listed>,
    run: |call| boxed(run(call)),
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Arguments {
    /// Who may call this: `namespace/service`, `namespace/service:port` or `namespace/deployment/name`. Example: `shop/cart`.
    to: Option<String>,
    /// What this client may call: a workload, `namespace/serviceaccount/name`, a mesh identity or an IP address. Example:
    /// `shop/deployment/web`.
    from: Option<String>,
    /// Alone: who may call whom in this namespace. Else: where names without a namespace are.
    namespace: Option<String>,
    /// Only calls of which this is so.
    only: Option<Only>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Only {
    /// They are let in.
    Allowed,
    /// They are not.
    Denied,
    /// They are made now, by the numbers.
    WithTraffic,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Listed {
    /// Who is let in on each port, by policy; only on the first page.
    ports: Rows<PortRow>,
    /// Which known workload may call which port.
    calls: Vec<CallRow>,
    #[serde(flatten)]
    page: Page,
    /// True when there are more calls than those that were looked at: name one `to` or `from`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    /// What was assumed, and what cannot be known from here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// One port of pods that are alike.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PortRow {
    workload: String,
    port: u32,
    /// The Server that decides, or `default:<policy>`; absent when no policy is enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// `detect`, `http1`, `http2`, `grpc`, `opaque` or `tls`.
    protocol: String,
    /// `everyone`, `networks` (anybody, from some addresses), `meshed`, `listed`, `nobody` or `not_enforced`.
    open_to: String,
    /// Who is let in on every route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grants: Vec<Grant>,
    /// Routes and who is let in on them in addition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    /// Grants and routes that are left out here.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
    /// Denied per second, as the proxies count now.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied_per_s: Option<f64>,
}

/// What one authorization lets in.
#[derive(Debug, Serialize, JsonSchema)]
struct Grant {
    /// Its id, or `default:<policy>`.
    by: String,
    /// `anyone`, `any mesh client`, or identities.
    clients: Vec<String>,
    /// How many more clients there are.
    #[serde(skip_serializing_if = "is_zero")]
    more_clients: usize,
    /// From where; absent for everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Route {
    /// Its id, or `default:probe`.
    route: String,
    /// What it takes.
    matches: Vec<String>,
    /// Authorizations of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CallRow {
    from: String,
    /// The workload that answers, with its port.
    to: String,
    /// `allow`, `deny`, `audit` or `unmatched_route`.
    decision: String,
    /// What lets it in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by: Vec<String>,
    /// Let in on these routes only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    only_routes: Vec<String>,
    /// Requests per second seen now; absent when none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    rps: Option<f64>,
}

/// The most calls that are decided for one answer.
const MOST_CALLS: u32 = 5_000;
/// The most entries of each list inside a row.
const FEW: usize = 3;
/// The share of an answer in percent that goes to ports where calls follow.
const PORTS: usize = 40;

fn is_zero(number: &usize) -> bool {
    *number == 0
}

async fn run(mut call: Call) -> Result<Answer, ToolError> {
    let asked = super::asked(&call);
    let arguments: Arguments = call.arguments()?;
    let view = call.view()?;
    let question = v1::ListAccessRequest {
        to: arguments.to.unwrap_or_default(),
        from: arguments.from.unwrap_or_default(),
        namespace: arguments.namespace.unwrap_or_default(),
        limit: MOST_CALLS,
    };
    let found = view.ask(move |mesh| access::list_access(mesh, &question)).await.map_err(Refusal::Access)?;
    let v1::ListAccessResponse { ports, mut calls, truncated, notes, .. } = found;
    calls.retain(|it| arguments.only.is_none_or(|only| only.is_true_of(it)));
    // Who calls now comes before who might, and what is denied before what is let in.
    calls.sort_by(|a, b| {
        let rate = |it: &v1::AccessCall| it.rps.unwrap_or(-1.0);
        rate(b).total_cmp(&rate(a)).then_with(|| is_let_in(a).cmp(&is_let_in(b)))
    });
    let paging = &arguments.paging;
    let mut share = Share::of(paging.detail);
    let notes: Vec<String> = notes.iter().map(|note| data(note)).collect();
    share.spend(&notes);
    let ports = match paging.is_first() {
        true => share.rows(PORTS, &ports, PortRow::of),
        false => Rows { total: ports.len(), rows: Vec::new() },
    };
    let (calls, page) = paging.rows_within(share.left(), &asked, &calls, CallRow::of)?;
    Ok(call.dated(&view, Listed { ports, calls, page, truncated, notes }))
}

fn is_let_in(call: &v1::AccessCall) -> bool {
    matches!(call.decision(), v1::Decision::Allow | v1::Decision::Audit)
}

fn some(list: &[String]) -> Vec<String> {
    list.iter().take(FEW).map(|it| data(it)).collect()
}

// === impl Only ===

impl Only {
    fn is_true_of(self, call: &v1::AccessCall) -> bool {
        match self {
            Self::Allowed => is_let_in(call),
            Self::Denied => !is_let_in(call),
            Self::WithTraffic => call.rps.is_some_and(|it| it > 0.0),
        }
    }
}

// === impl PortRow ===

impl PortRow {
    pub(super) fn of(it: &v1::PortAccess) -> Self {
        Self {
            workload: data(&it.workload),
            port: it.port,
            server: (!it.server.is_empty()).then(|| data(&it.server)),
            protocol: data(&it.protocol),
            open_to: data(&it.open_to),
            grants: it.grants.iter().take(FEW).map(Grant::of).collect(),
            routes: it.routes.iter().take(FEW).map(Route::of).collect(),
            more: it.grants.len().saturating_sub(FEW) + it.routes.len().saturating_sub(FEW),
            denied_per_s: it.denied_per_s.filter(|it| *it > 0.0).map(number),
        }
    }

    pub(super) fn lines(&self) -> String {
        let mut text = format!("{} port {} ({})", quoted(&self.workload), self.port, quoted(&self.protocol));
        // Writing to a String does not fail.
        let _ = write!(text, " is open to {}", quoted(&self.open_to));
        if let Some(server) = &self.server {
            let _ = write!(text, " by {}", quoted(server));
        }
        if let Some(denied) = self.denied_per_s {
            let _ = write!(text, ", DENIED {denied}/s");
        }
        text.push('\n');
        let names = |list: &[String]| list.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", ");
        for it in &self.grants {
            let _ = write!(text, "  {} lets in {}", quoted(&it.by), names(&it.clients));
            if it.more_clients > 0 {
                let _ = write!(text, " and {} more", it.more_clients);
            }
            if !it.networks.is_empty() {
                let _ = write!(text, " from {}", names(&it.networks));
            }
            text.push('\n');
        }
        for it in &self.routes {
            let _ = write!(text, "  route {} takes {}", quoted(&it.route), names(&it.matches));
            if !it.by.is_empty() {
                let _ = write!(text, ", also by {}", names(&it.by));
            }
            text.push('\n');
        }
        if self.more > 0 {
            let _ = writeln!(text, "  and {} more", self.more);
        }
        text
    }
}

// === impl Grant ===

impl Grant {
    fn of(it: &v1::Grant) -> Self {
        Self {
            by: data(&it.authorization),
            clients: some(&it.clients),
            more_clients: it.clients.len().saturating_sub(FEW),
            networks: some(&it.networks),
        }
    }
}

// === impl Route ===

impl Route {
    fn of(it: &v1::RouteAccess) -> Self {
        Self {
            route: data(&it.route),
            matches: some(&it.matches),
            by: it.grants.iter().take(FEW).map(|grant| data(&grant.authorization)).collect(),
        }
    }
}

// === impl CallRow ===

impl CallRow {
    fn of(it: &v1::AccessCall) -> Self {
        Self {
            from: data(&it.from),
            to: data(&format!("{}:{}", it.workload, it.port)),
            decision: word(it.decision()),
            by: some(&it.by),
            only_routes: some(&it.only_routes),
            rps: it.rps.map(number),
        }
    }
}

// === impl Listed ===

impl Output for Listed {
    fn text(&self) -> String {
        let mut text = String::new();
        for port in &self.ports.rows {
            text.push_str(&port.lines());
        }
        text.push_str(&self.ports.rest());
        for it in &self.calls {
            // Writing to a String does not fail.
            let _ = write!(text, "{} {} -> {}", it.decision, quoted(&it.from), quoted(&it.to));
            for (what, list) in [("by", &it.by), ("only on", &it.only_routes)] {
                if !list.is_empty() {
                    let list: Vec<_> = list.iter().map(|id| quoted(id)).collect();
                    let _ = write!(text, " {what} {}", list.join(", "));
                }
            }
            if let Some(rps) = it.rps {
                let _ = write!(text, " {rps} rps");
            }
            text.push('\n');
        }
        if self.calls.is_empty() {
            text.push_str("No known workload is in question.\n");
        }
        text.push_str(&self.page.text("choose with to, from or only"));
        if self.truncated {
            text.push_str("Not all calls were looked at: name one `to` or `from`.\n");
        }
        for note in &self.notes {
            let _ = writeln!(text, "Note: {}", quoted(note));
        }
        text
    }
}
