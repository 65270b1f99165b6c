//! The evaluator under test, asked in the oracle's words.

use crate::generate::{Question, World};
use linkerd_mcp_controller::watch::fact_from_value;
use linkerd_mcp_graph::{
    fact::{Change, Fact, Key, PolicyObject},
    facts::{Facts, Touched},
    kind::KINDS,
    policy::{
        Client, Decision, Policies, PolicyCluster, Reason, Request, Target, Verdict, WorkloadKey,
        objects::INBOUND, verdict::Origin,
    },
};
use linkerd_mcp_test::oracle::{self, Oracle, Outcome, Workload};
use serde_json::{Value, json};

/// What the evaluator knows of a world.
pub(crate) struct Evaluator {
    facts: Facts,
    policies: Policies,
}

// === impl Evaluator ===

impl Evaluator {
    pub(crate) fn new(world: &World) -> Self {
        let facts = read_facts(world);
        Self { policies: Policies::read(&facts, &policy_cluster(world)), facts }
    }

    /// With policies that came another way.
    pub(crate) fn with_policies(world: &World, policies: Policies) -> Self {
        Self { facts: read_facts(world), policies }
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
        let (client, request) = question.in_words_of_the_evaluator();
        let key = key(&question.workload);
        let target = Target::find(&self.facts, &key).unwrap();
        self.policies.check_access(&client, target, question.port.try_into().unwrap(), request.as_ref())
    }
}

// === impl Question ===

impl Question {
    pub(crate) fn in_words_of_the_evaluator(&self) -> (Client, Option<Request>) {
        let client = Client {
            address: Some(self.caller.address),
            tls: self.caller.tls,
            identity: self.caller.identity.as_deref().map(Into::into),
        };
        let request = self.call.as_ref().map(|call| Request {
            method: call.method.as_str().into(),
            path: call.path.as_str().into(),
            host: call.host.as_deref().map(Into::into),
            headers: call.headers.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into())).collect(),
        });
        (client, request)
    }

    pub(crate) fn ask(&self, oracle: &Oracle<'_>) -> Outcome {
        oracle.decide(&self.caller, &self.workload, self.port, self.call.as_ref()).unwrap()
    }
}

/// The objects of a world, as they come in from a watch.
pub(crate) fn read_facts(world: &World) -> Facts {
    let (mut facts, mut touched) = (Facts::default(), Touched::default());
    for object in &world.objects {
        let version = object["apiVersion"].as_str().unwrap();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let row = KINDS.iter().find(|row| row.group == group && object["kind"] == row.name).unwrap();
        facts.change(Change::Apply(fact_from_value(row.kind, object).unwrap()), &mut touched);
    }
    facts
}

/// Those of them that bear on policy.
pub(crate) fn policy_facts(world: &World) -> Vec<PolicyObject> {
    let facts = read_facts(world);
    let all = INBOUND.iter().flat_map(|kind| facts.all(*kind));
    all.filter_map(|fact| if let Fact::Policy(object) = fact { Some((**object).clone()) } else { None })
        .collect()
}

/// The settings of a world's control plane.
pub(crate) fn policy_cluster(world: &World) -> PolicyCluster {
    serde_json::from_value(world.cluster.clone()).unwrap()
}

/// A verdict in the oracle's words.
pub(crate) fn outcome(verdict: &Verdict) -> Outcome {
    let title = |reason: &Reason| match reason {
        Reason::Loopback => Some("default localhost".to_owned()),
        Reason::Admits { authorization } => Some(title_of(authorization)),
        _ => None,
    };
    let admitted_by = verdict.reasons.iter().filter_map(title).collect();
    Outcome { decision: decision(verdict.decision), admitted_by }
}

/// What the oracle calls an authorization.
pub(crate) fn title_of(authorization: &Origin) -> String {
    match authorization {
        Origin::Object(id) => format!("{} {}", id.kind(), id.name()),
        Origin::Default(name) => format!("default {name}"),
    }
}

pub(crate) fn decision(decision: Decision) -> oracle::Decision {
    match decision {
        Decision::Allow => oracle::Decision::Allow,
        Decision::Deny => oracle::Decision::Deny,
        Decision::Audit => oracle::Decision::Audit,
        Decision::UnmatchedRoute => oracle::Decision::UnmatchedRoute,
    }
}

fn key(workload: &Workload) -> WorkloadKey {
    let key = Key::new(workload.namespace.as_str(), workload.name.as_str());
    if workload.kind == "Pod" { WorkloadKey::Pod(key) } else { WorkloadKey::ExternalWorkload(key) }
}
