//! What a plan would do, in lines for the person who is asked to approve it.

use super::{
    Inner, Refusal,
    apply::opened,
    now_ms,
    record::{Action, Who},
    seal::Token,
};
use crate::{
    caller::Principal,
    mcp::text::{data, quoted},
};
use linkerd_mcp_proto::v1;
use std::fmt;

/// A plan as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Its public name.
    pub(crate) id: String,
    objects: Vec<(Action, String)>,
    impact: String,
}

/// The most objects that are named: more than these are not read.
const MOST_NAMED: usize = 10;

/// The most flows of each sort that are named.
const MOST_FLOWS: usize = 5;

pub(super) async fn planned(inner: &Inner, who: &Principal, plan: &str) -> Result<Planned, Refusal> {
    inner.cluster()?;
    let expired = || Refusal::NoPlan(format!("{} s", inner.lifetime.as_secs()));
    let token = Token::read(plan).ok_or_else(expired)?;
    let sealed = inner.store.read_plan(&token.name()).await?.ok_or_else(expired)?;
    let plan = opened(&token, &sealed)?;
    // As for a plan that is not there: nothing is told of somebody else's.
    if plan.who != Who::of(who) || plan.expires_ms <= now_ms() {
        return Err(expired());
    }
    let objects = plan.writes.iter().map(|write| (write.action, write.target.id().to_string())).collect();
    Ok(Planned { id: plan.id, objects, impact: plan.impact })
}

/// What becomes of the calls that are seen, in a few lines.
pub(super) fn impact(impact: Option<&v1::Impact>) -> String {
    let Some(impact) = impact else { return String::new() };
    let of = |count: u32, rps: Option<f64>| match rps {
        Some(rps) => format!("{count} ({rps:.2} requests/s)"),
        None => count.to_string(),
    };
    let mut text = format!(
        "Of the calls seen now: {} newly denied, {} newly allowed, {} as before, {} cannot be judged.",
        of(impact.newly_denied_count, impact.newly_denied_rps),
        of(impact.newly_allowed_count, impact.newly_allowed_rps),
        impact.unchanged,
        impact.unknown_count,
    );
    for (becomes, flows) in [("denied", &impact.newly_denied), ("allowed", &impact.newly_allowed)] {
        for flow in flows.iter().take(MOST_FLOWS) {
            let (from, workload) = (data(&flow.from), data(&flow.workload));
            let (from, workload) = (quoted(&from), quoted(&workload));
            text.push_str(&format!("\n  {becomes}: {from} -> {workload}:{}", flow.port));
        }
    }
    text
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Plan {} changes Linkerd policy:", self.id)?;
        for (action, id) in self.objects.iter().take(MOST_NAMED) {
            writeln!(f, "  {} {}", action.as_str(), quoted(&data(id)))?;
        }
        if self.objects.len() > MOST_NAMED {
            writeln!(f, "  and {} more", self.objects.len() - MOST_NAMED)?;
        }
        f.write_str(&self.impact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_the_objects_and_which_calls_become_denied() {
        let flow = |from: &str| v1::ImpactFlow {
            from: from.to_owned(),
            workload: "shop/deployment/cart".to_owned(),
            port: 8080,
            ..v1::ImpactFlow::default()
        };
        let seen = v1::Impact {
            newly_denied: vec![flow("shop/deployment/books"), flow("\u{202e}evil\nyes")],
            newly_denied_count: 7,
            newly_denied_rps: Some(12.345),
            unchanged: 3,
            unknown_count: 1,
            ..v1::Impact::default()
        };
        let objects = (0..12).map(|at| (Action::Update, format!("server/shop/s{at}"))).collect();
        let planned = Planned { id: "p-1".to_owned(), objects, impact: impact(Some(&seen)) };
        let text = planned.to_string();
        assert!(text.starts_with("Plan p-1 changes Linkerd policy:\n  update server/shop/s0\n"), "{text}");
        assert!(
            text.contains("\n  and 2 more\nOf the calls seen now: 7 (12.35 requests/s) newly denied, 0"),
            "{text}"
        );
        assert!(text.contains("\n  denied: shop/deployment/books -> shop/deployment/cart:8080\n"), "{text}");
        assert!(text.ends_with("denied: \"\\u{202e}evil\\u{a}yes\" -> shop/deployment/cart:8080"), "{text}");
        assert_eq!(impact(None), "");
    }
}
