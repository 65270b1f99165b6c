//! What policies say, as messages.

use linkerd_mcp_graph::policy::{
    Decision,
    answer::Answer,
    ask::{Access, CallRow, Grant, PortAccess, RouteAccess},
    denial::{Denial, Explained},
    flip::Flip,
    lint::{self, Finding},
    verdict::Origin,
};
use linkerd_mcp_proto::v1;

pub(super) fn resolved(
    workload: &str,
    pod: &str,
    port: u32,
    known: bool,
    answer: &Answer,
) -> v1::ResolvedPort {
    let server_json =
        answer.server().map(|server| serde_json::to_string(server).expect("answers have text keys"));
    v1::ResolvedPort {
        workload: workload.to_owned(),
        pod: pod.to_owned(),
        port,
        known,
        status: answer.status().to_owned(),
        server_json: server_json.unwrap_or_default(),
    }
}

/// One decision with what would change it; `client` is who was asked about.
pub(super) fn access(access: &Access<'_>, client: String, flips: &[Flip]) -> v1::Access {
    let endpoint = access.endpoint;
    v1::Access {
        workload: access.workload().map(ToString::to_string).unwrap_or_default(),
        port: endpoint.map_or(0, |endpoint| u32::from(endpoint.port)),
        pod: endpoint.map(|endpoint| endpoint.template.first.to_string()).unwrap_or_default(),
        pods: endpoint.map_or(0, |endpoint| endpoint.template.count),
        client,
        client_identity: access.identity().map(ToString::to_string).unwrap_or_default(),
        client_address: access.client.address.map(|address| address.to_string()).unwrap_or_default(),
        decision: decision(access.verdict.decision).into(),
        reasons: access
            .verdict
            .reasons
            .iter()
            .map(|reason| v1::Reason {
                reason: reason.name().to_owned(),
                text: reason.to_string(),
                origins: reason.origins().iter().map(origin).collect(),
            })
            .collect(),
        flips: flips.iter().map(flip).collect(),
    }
}

pub(crate) fn decision(decision: Decision) -> v1::Decision {
    match decision {
        Decision::Allow => v1::Decision::Allow,
        Decision::Deny => v1::Decision::Deny,
        Decision::Audit => v1::Decision::Audit,
        Decision::UnmatchedRoute => v1::Decision::UnmatchedRoute,
    }
}

/// An object's id, or `default:<name>`.
pub(crate) fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Object(id) => id.to_string(),
        Origin::Default(name) => format!("default:{name}"),
    }
}

pub(super) fn port_access(port: &PortAccess<'_>) -> v1::PortAccess {
    let endpoint = port.endpoint;
    v1::PortAccess {
        workload: endpoint.workload.to_string(),
        port: endpoint.port.into(),
        port_name: endpoint.port_name().to_owned(),
        pod: endpoint.template.first.to_string(),
        pods: endpoint.template.count,
        services: port.services.iter().map(|(id, port)| format!("{id}:{port}")).collect(),
        server: port.server.as_ref().map(origin).unwrap_or_default(),
        protocol: port.protocol.to_owned(),
        open_to: port.open_to.as_str().to_owned(),
        grants: port.grants.iter().map(grant).collect(),
        routes: port.routes.iter().map(route).collect(),
        denied_per_s: port.denied,
        unrouted_per_s: port.unrouted,
    }
}

fn route(route: &RouteAccess) -> v1::RouteAccess {
    v1::RouteAccess {
        route: origin(&route.route),
        matches: route.matches.clone(),
        grants: route.grants.iter().map(grant).collect(),
    }
}

fn grant(grant: &Grant) -> v1::Grant {
    let numbers = grant.numbers;
    v1::Grant {
        authorization: origin(&grant.authorization),
        clients: grant.clients.clone(),
        networks: grant.networks.clone(),
        metrics: numbers.map(|numbers| v1::NodeMetrics {
            rps: numbers.rps,
            success_rate: numbers.success_rate,
            denied_per_s: None,
        }),
        latency_p50_ms: numbers.and_then(|numbers| numbers.p50_ms),
        latency_p95_ms: numbers.and_then(|numbers| numbers.p95_ms),
        latency_p99_ms: numbers.and_then(|numbers| numbers.p99_ms),
    }
}

pub(super) fn call(row: &CallRow<'_>) -> v1::AccessCall {
    v1::AccessCall {
        from: row.from.to_string(),
        workload: row.endpoint.workload.to_string(),
        port: row.endpoint.port.into(),
        decision: decision(row.decision).into(),
        by: row.by.iter().map(origin).collect(),
        rps: row.rps,
        only_routes: row.only_routes.iter().map(origin).collect(),
    }
}

fn flip(flip: &Flip) -> v1::Flip {
    v1::Flip {
        text: flip.text.clone(),
        becomes: decision(flip.becomes).into(),
        manifest: manifest(flip),
        removes: flip.removes.iter().map(ToString::to_string).collect(),
    }
}

/// One YAML stream, as kubectl applies it; empty for nothing to apply.
fn manifest(flip: &Flip) -> String {
    let documents = flip.manifests();
    let text = |document| serde_yaml::to_string(document).expect("manifests have text keys");
    documents.iter().map(text).collect::<Vec<_>>().join("---\n")
}

pub(super) fn denial(denial: &Denial<'_>) -> v1::Denial {
    let src = denial.edge.src.to_string();
    let accesses = denial.accesses.iter();
    v1::Denial {
        edge_id: denial.id.to_string(),
        dst: denial.edge.dst.to_string(),
        denied_per_s: denial.denied,
        unrouted_per_s: denial.unrouted,
        allowed_per_s: denial.allowed,
        text: denial.text.clone(),
        accesses: accesses.map(|Explained { access: it, flips }| access(it, src.clone(), flips)).collect(),
        src,
    }
}

pub(super) fn finding(finding: &Finding) -> v1::Finding {
    v1::Finding {
        code: finding.code.to_string(),
        severity: severity(finding.severity).into(),
        objects: finding.objects.clone(),
        text: finding.text.clone(),
        fix: finding.fix.clone(),
        written_json: String::new(),
        enforced_json: String::new(),
    }
}

fn severity(severity: lint::Severity) -> v1::Severity {
    match severity {
        lint::Severity::Info => v1::Severity::Info,
        lint::Severity::Warning => v1::Severity::Warning,
        lint::Severity::Error => v1::Severity::Error,
    }
}
