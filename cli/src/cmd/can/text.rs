//! The answer for people: what happens, by what, why, and the smallest change after which it would be otherwise.

use crate::output::{
    flip,
    policy::{client, headline, lets_in, object, word},
    text::{clean, clean_line},
};
use linkerd_mcp_proto::v1::{Access, CheckAccessRequest, CheckAccessResponse, Decision, Flip};

/// The whole answer.
pub(super) fn print(answer: &CheckAccessResponse, request: &CheckAccessRequest) -> String {
    let mut out = first_line(answer, request);
    let mut groups: Vec<(&Access, Vec<String>)> = Vec::new();
    for access in &answer.accesses {
        let place = place(access);
        let alike = |known: &&mut (&Access, Vec<String>)| {
            (known.0.decision, &known.0.reasons) == (access.decision, &access.reasons)
        };
        match groups.iter_mut().find(alike) {
            Some((_, places)) if places.contains(&place) => {}
            Some((_, places)) => places.push(place),
            None => groups.push((access, vec![place])),
        }
    }
    for (access, places) in &groups {
        let decision = if groups.len() > 1 { format!("{} ", word(access.decision())) } else { String::new() };
        out.push_str(&format!("  {decision}{}:\n", places.join(" and ")));
        for reason in &access.reasons {
            out.push_str(&format!("    - {}\n", clean_line(&reason.text)));
        }
    }
    out.push_str(&flips(answer));
    for note in &answer.notes {
        out.push_str(&format!("Note: {}\n", clean_line(note)));
    }
    out
}

fn first_line(answer: &CheckAccessResponse, request: &CheckAccessRequest) -> String {
    let decision = answer.decision();
    let (from, to) = (client(&answer.from, ""), target(&answer.to));
    let what = match request.path.as_str() {
        "" => String::new(),
        path => format!(" with {} {}", clean(&request.method), clean(path)),
    };
    let by = match (by(answer), because(answer)) {
        (names, _) if !names.is_empty() => format!(" (by {})", names.join(", ")),
        (_, Some(reason)) => format!(" ({})", clean_line(reason)),
        (_, None) => String::new(),
    };
    let part = match (answer.mixed, lets_in(decision)) {
        (true, false) => ", in some of the cases",
        _ => "",
    };
    let sentence = match decision {
        Decision::Allow => format!("{from} may call {to}{what}{by}"),
        Decision::Audit => format!("{from} may call {to}{what}, and it is logged{by}"),
        Decision::Deny => format!("{from} may not call {to}{what}{part}{by}"),
        Decision::UnmatchedRoute => {
            format!("a call of {from} to {to}{what} is answered with 404{part}: no route takes it{by}")
        }
        Decision::Unspecified => format!("whether {from} may call {to}{what} is not said"),
    };
    format!("{}: {sentence}\n", headline(decision))
}

/// What decides, of the accesses that are decided as the whole is: what admits, else what holds on the port.
fn by(answer: &CheckAccessResponse) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let of = |access: &Access, wanted: &[&str]| -> Vec<String> {
        let reasons = access.reasons.iter().filter(|reason| wanted.contains(&reason.reason.as_str()));
        reasons.flat_map(|reason| &reason.origins).map(|id| object(id, "")).collect()
    };
    for access in answer.accesses.iter().filter(|access| access.decision == answer.decision) {
        let admits = match lets_in(access.decision()) {
            true => of(access, &["admits"]),
            false => Vec::new(),
        };
        let deciding = match admits.is_empty() {
            true => of(access, &["invalid_route", "server", "egress_network"]),
            false => admits,
        };
        for name in deciding {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The last reason, where no object and no default decides.
fn because(answer: &CheckAccessResponse) -> Option<&str> {
    let access = answer.accesses.iter().find(|access| access.decision == answer.decision)?;
    access.reasons.last().map(|reason| reason.text.as_str())
}

/// `at shop/deploy/cart:8080, from 10.4.0.7`.
fn place(access: &Access) -> String {
    let mut place = match access.workload.as_str() {
        "" => "on its way out".to_owned(),
        workload => format!("at {}:{}", client(workload, ""), access.port),
    };
    match access.client_identity.as_str() {
        "" if access.client_address.is_empty() => place.push_str(", as a client outside the mesh"),
        "" => {}
        identity => place.push_str(&format!(", as {}", clean(identity))),
    }
    if !access.client_address.is_empty() {
        place.push_str(&format!(", from {}", clean(&access.client_address)));
    }
    place
}

/// `shop/cart:80` is a Service, `shop/deployment/cart:8080` a workload.
fn target(id: &str) -> String {
    let (name, port) = match id.rsplit_once(':') {
        Some((name, port)) if !id.starts_with("external:") => (name, format!(":{port}")),
        _ => (id, String::new()),
    };
    let name = match name.split('/').collect::<Vec<_>>()[..] {
        [namespace, name] => clean(&format!("{namespace}/svc/{name}")),
        _ => client(name, ""),
    };
    format!("{name}{port}")
}

/// The smallest change for each way of being decided, each once. The manifest only where it would help: nobody asks
/// how to lock out who is let in.
fn flips(answer: &CheckAccessResponse) -> String {
    let mut smallest: Vec<&Flip> = Vec::new();
    for access in answer.accesses.iter().filter(|access| access.decision == answer.decision) {
        if let Some(flip) = access.flips.first().filter(|flip| !smallest.contains(flip)) {
            smallest.push(flip);
        }
    }
    smallest.into_iter().map(flip::print).collect()
}

#[cfg(test)]
mod tests;
