//! The evaluator under test, asked in the oracle's words.

use crate::generate::{Question, World};
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    fact::{Change, Key},
    facts::{Facts, Touched},
    kind::KINDS,
    policy::{
        Client, Decision, Policies, PolicyCluster, Reason, Request, Target, Verdict, WorkloadKey,
        verdict::Origin,
    },
};
use linkerd_mcp_test::oracle::{self, Outcome, Workload};
use serde_json::{Value, json};

/// What the evaluator knows of a world.
pub(crate) struct Evaluator {
    facts: Facts,
    policies: Policies,
}

// === impl Evaluator ===

impl Evaluator {
    pub(crate) fn new(world: &World) -> Self {
        let (mut facts, mut touched) = (Facts::default(), Touched::default());
        for object in &world.objects {
            let version = object["apiVersion"].as_str().unwrap();
            let group = version.split_once('/').map_or("", |(group, _)| group);
            let row = KINDS.iter().find(|row| row.group == group && object["kind"] == row.name).unwrap();
            facts.change(Change::Apply(fact_from_value(row.kind, object).unwrap()), &mut touched);
        }
        let cluster: PolicyCluster = serde_json::from_value(world.cluster.clone()).unwrap();
        Self { policies: Policies::read(&facts, &cluster), facts }
    }

    /// What it resolves for a port, in the form of the recordings.
    pub(crate) fn answer(&self, workload: &Workload, port: u32) -> Value {
        let answer = self.policies.answer(&self.facts, &key(workload), port);
        let mut read = json!({"status": answer.status()});
        if let Some(server) = answer.server() {
            read["server"] = json!(server);
        }
        read
    }

    pub(crate) fn verdict(&self, question: &Question) -> Verdict {
        let client = Client {
            address: Some(question.caller.address),
            tls: question.caller.tls,
            identity: question.caller.identity.as_deref().map(Into::into),
        };
        let request = question.call.as_ref().map(|call| Request {
            method: call.method.as_str().into(),
            path: call.path.as_str().into(),
            host: call.host.as_deref().map(Into::into),
            headers: call.headers.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into())).collect(),
        });
        let key = key(&question.workload);
        let target = Target::find(&self.facts, &key).unwrap();
        self.policies.check_access(&client, target, question.port.try_into().unwrap(), request.as_ref())
    }
}

/// A verdict in the oracle's words.
pub(crate) fn outcome(verdict: &Verdict) -> Outcome {
    let title = |reason: &Reason| match reason {
        Reason::Loopback => Some("default localhost".to_owned()),
        Reason::Admits { authorization: Origin::Object(id) } => Some(format!("{} {}", id.kind(), id.name())),
        Reason::Admits { authorization: Origin::Default(name) } => Some(format!("default {name}")),
        _ => None,
    };
    let decision = match verdict.decision {
        Decision::Allow => oracle::Decision::Allow,
        Decision::Deny => oracle::Decision::Deny,
        Decision::Audit => oracle::Decision::Audit,
        Decision::UnmatchedRoute => oracle::Decision::UnmatchedRoute,
    };
    Outcome { decision, admitted_by: verdict.reasons.iter().filter_map(title).collect() }
}

fn key(workload: &Workload) -> WorkloadKey {
    let key = Key::new(workload.namespace.as_str(), workload.name.as_str());
    if workload.kind == "Pod" { WorkloadKey::Pod(key) } else { WorkloadKey::ExternalWorkload(key) }
}
