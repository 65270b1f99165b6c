//! What happens on an edge, why, and what may be behind it where counters and policies do not agree.

use super::{EdgeMetrics, is_audited};
use crate::{
    id::Source,
    model::{Edge, Protocol},
    policy::{
        Reason,
        ask::{Access, Mesh},
        verdict::Origin,
    },
};
use std::collections::BTreeSet;

/// The most objects that are named as new.
const MAX_NEW: usize = 3;
/// The most workloads that are named as sharing an identity.
const MAX_SHARING: usize = 5;

pub(super) fn of(mesh: &Mesh<'_>, edge: &Edge, row: &EdgeMetrics, accesses: &[Access<'_>]) -> String {
    let mut sentences = vec![happens(edge, row)];
    if row.denied.is_some_and(|denied| denied > 0.0) {
        sentences.extend(why(mesh, edge, row, accesses));
    }
    if row.unrouted.is_some_and(|unrouted| unrouted > 0.0) {
        sentences.extend(unrouted(accesses));
    }
    sentences.join(" ")
}

/// The counters in words.
fn happens(edge: &Edge, row: &EdgeMetrics) -> String {
    let unit = match edge.protocol {
        Protocol::Http | Protocol::Grpc => "requests/s",
        Protocol::Tcp => "connections/s",
    };
    let some = |number: Option<f64>| number.filter(|number| *number > 0.0);
    let mut parts = Vec::new();
    if let Some(denied) = some(row.denied) {
        parts.push(format!("{} {unit} are denied", rate(denied)));
    }
    if let Some(unrouted) = some(row.unrouted) {
        parts.push(format!("{} {unit} are answered with 404 because no route takes them", rate(unrouted)));
    }
    match (some(row.allowed), is_audited(row)) {
        (Some(allowed), true) => {
            parts
                .push(format!("{} {unit} are let in by the policy `audit` alone, and logged", rate(allowed)));
        }
        (Some(allowed), false) => parts.push(format!("{} {unit} are let in", rate(allowed))),
        // Traffic is known to be judged only where this is known.
        (None, _) if row.allowed.is_some() => parts.push("none is let in".to_owned()),
        (None, _) => {}
    }
    format!("From {} to {}, {}.", client(edge), edge.dst, parts.join(", "))
}

fn rate(number: f64) -> String {
    if number < 0.005 { "less than 0.01".to_owned() } else { format!("{number:.2}") }
}

fn client(edge: &Edge) -> String {
    match &edge.src {
        Source::Workload(id) => id.to_string(),
        Source::Identity(identity) => match &*edge.candidates {
            [] => format!("`{identity}`"),
            candidates => {
                let names: Vec<String> =
                    candidates.iter().take(MAX_SHARING).map(ToString::to_string).collect();
                format!("`{identity}` (one of {})", names.join(", "))
            }
        },
        Source::Unmeshed(reason) => format!("clients outside the mesh ({reason})"),
    }
}

fn why(mesh: &Mesh<'_>, edge: &Edge, row: &EdgeMetrics, accesses: &[Access<'_>]) -> Vec<String> {
    let is_refused = |access: &&Access<'_>| !access.verdict.is_let_in();
    let Some(refused) = accesses.iter().find(is_refused) else {
        let begins = match accesses.first() {
            Some(access) => format!("The policies would let it in: {}.", reasons(access)),
            None => "There is no port here that the policies could be asked about.".to_owned(),
        };
        return [vec![begins], suspicions(mesh, edge, accesses)].concat();
    };
    let mut sentences = vec![format!("The policies say so: {}.", reasons(refused))];
    let routes: BTreeSet<String> =
        accesses.iter().flat_map(|it| &it.verdict.reasons).filter_map(admitted).collect();
    let some_let_in = accesses.iter().any(|access| access.verdict.is_let_in());
    let allowed = row.allowed.is_some_and(|allowed| allowed > 0.0);
    if !routes.is_empty() {
        let routes: Vec<String> = routes.into_iter().collect();
        sentences.push(format!("Only requests of some routes are let in: {}.", routes.join("; ")));
    } else if some_let_in {
        sentences.push(by_case(accesses));
    } else if allowed {
        sentences.push("Yet some of it is let in.".to_owned());
        sentences.extend(suspicions(mesh, edge, accesses));
    }
    sentences
}

fn admitted(reason: &Reason) -> Option<String> {
    match reason {
        Reason::RouteAdmits { route, authorization } => Some(format!("{route} by {authorization}")),
        _ => None,
    }
}

fn reasons(access: &Access<'_>) -> String {
    let texts: Vec<String> = access
        .verdict
        .reasons
        .iter()
        .filter(|reason| !matches!(reason, Reason::RouteAdmits { .. } | Reason::RouteNeeded))
        .map(ToString::to_string)
        .collect();
    texts.join("; ")
}

/// Which pods refuse it and which do not.
fn by_case(accesses: &[Access<'_>]) -> String {
    let case = |access: &Access<'_>| {
        let at = access.endpoint.map(|it| format!("{}:{}", it.workload, it.port)).unwrap_or_default();
        let who = match (&access.client.identity, access.client.address) {
            (Some(identity), _) => format!("as `{identity}`"),
            (None, Some(address)) => format!("without identity from {address}"),
            (None, None) => "without identity".to_owned(),
        };
        let verb = if access.verdict.is_let_in() { "let in" } else { "refused" };
        format!("{verb} at {at} {who}")
    };
    let cases: BTreeSet<String> = accesses.iter().map(case).collect();
    format!("It depends: {}.", cases.into_iter().collect::<Vec<_>>().join(", "))
}

fn unrouted(accesses: &[Access<'_>]) -> Vec<String> {
    let servers: BTreeSet<String> = accesses
        .iter()
        .flat_map(|access| &access.verdict.reasons)
        .filter_map(|reason| match reason {
            Reason::Server { origin: Origin::Object(id), .. } => Some(id.to_string()),
            _ => None,
        })
        .collect();
    if servers.is_empty() {
        return Vec::new();
    }
    let servers: Vec<String> = servers.into_iter().collect();
    vec![format!(
        "The counters do not tell their paths: the log of the server's proxy does. Either the clients ask for what \
         is not meant to be there, or {} lacks a route for it.",
        servers.join(" or ")
    )]
}

// --- where counters and policies disagree ---

/// What may be behind it, the likeliest first.
fn suspicions(mesh: &Mesh<'_>, edge: &Edge, accesses: &[Access<'_>]) -> Vec<String> {
    let mut sentences = Vec::new();
    let window = mesh.metrics.status.window_s;
    let new = new_objects(mesh, accesses);
    if new.is_empty() {
        sentences.push(format!(
            "A policy may have changed within the last {window} s: the numbers still cover the time before."
        ));
    } else {
        sentences.push(format!(
            "{} is newer than the {window} s that the numbers cover, so they may still be those from before.",
            new.join(" or ")
        ));
    }
    let sharing = sharing(mesh, edge);
    if sharing.len() > 1 {
        sentences.push(format!(
            "{} have one identity, and proxies count by identity: it may be another of them that is denied.",
            sharing.join(", ")
        ));
    }
    let skipped = |reason: &Reason| matches!(reason, Reason::TargetNotMeshed | Reason::PortSkipped { .. });
    if accesses.iter().flat_map(|access| &access.verdict.reasons).any(skipped) {
        sentences.push(
            "The pods may have started before what their annotations say now; only a restart makes it so."
                .to_owned(),
        );
    }
    if !edge.backends.is_empty() {
        let names: Vec<String> = edge.backends.iter().map(ToString::to_string).collect();
        sentences.push(format!("A route sends it to {}, of which one may deny it.", names.join(", ")));
    }
    sentences.push(
        "Or what is written is not what is enforced: `linkerd-mcp lint --enforced` asks Linkerd's policy controller."
            .to_owned(),
    );
    sentences
}

/// Objects that decided and that did not exist when the window of the numbers began.
fn new_objects(mesh: &Mesh<'_>, accesses: &[Access<'_>]) -> Vec<String> {
    let status = &mesh.metrics.status;
    let Some(as_of) = status.as_of_ms else { return Vec::new() };
    let begin = as_of - i64::from(status.window_s) * 1_000;
    let origins: BTreeSet<Origin> = accesses.iter().flat_map(|access| access.verdict.origins()).collect();
    let new = origins.into_iter().filter_map(|origin| match origin {
        Origin::Object(id) => {
            let object = mesh.policies.objects().by_id(&id)?;
            object.created_ms.is_some_and(|created| created > begin).then(|| id.to_string())
        }
        Origin::Default(_) => None,
    });
    new.take(MAX_NEW).collect()
}

/// The workloads that present the client's identity.
fn sharing(mesh: &Mesh<'_>, edge: &Edge) -> Vec<String> {
    let Some(identity) = &edge.client_identity else { return Vec::new() };
    let workloads = mesh.graph.workloads.iter();
    let same = workloads.filter(|(_, workload)| workload.identity.as_ref() == Some(identity));
    same.map(|(id, _)| id.to_string()).take(MAX_SHARING).collect()
}
