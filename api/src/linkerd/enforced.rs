//! Compares all ports of a namespace with what is enforced, when somebody asks: `lint --enforced`.

use super::{
    AskError,
    sample::{CompareError, Enforced, Ours, compare},
};
use crate::graph::policy::{WorkloadKey, drift::Drift};
use futures::{StreamExt as _, stream};
use linkerd_mcp_proto::v1;
use std::{future::Future, time::Duration};
use tokio::time::{Instant, timeout_at};

/// The most ports that one question compares: each is a question to the controller.
const MAX_PORTS: usize = 500;
/// How many are asked at once; as many as the controller's client lets through.
const AT_ONCE: usize = 4;
/// For all of them: the answer must begin before the question is given up.
const TIME: Duration = Duration::from_secs(8);
/// The most differences of one port that are told.
const MAX_DIFFERENCES: usize = 10;

/// All that is written, as this process knows it.
pub(crate) trait AllOurs: Ours {
    /// The first `count` ports of workloads in the mesh, and how many there are; none while the policies are not known
    /// completely.
    fn all(
        &self,
        namespace: Option<&str>,
        count: usize,
    ) -> impl Future<Output = Option<(Vec<(WorkloadKey, u16)>, usize)>> + Send;
}

/// What the comparison adds to an answer of lint.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Compared {
    pub(crate) findings: Vec<v1::Finding>,
    pub(crate) ports: u32,
    pub(crate) notes: Vec<String>,
}

/// Compares as many ports as there is time for.
///
/// # Errors
///
/// When the controller answers nothing: then nothing was compared, and to say so in a note would read like success.
pub(crate) async fn lint(
    ours: &impl AllOurs,
    enforced: &impl Enforced,
    namespace: Option<&str>,
) -> Result<Compared, AskError> {
    let mut compared = Compared::default();
    let Some((ports, known)) = ours.all(namespace, MAX_PORTS).await else {
        compared.notes.push(
            "Nothing was compared with what Linkerd enforces: the feed or a watch is broken, and what is missing here \
             would look like a difference. Ask again when the answer says that it is fresh."
                .to_owned(),
        );
        return Ok(compared);
    };
    if known > ports.len() {
        compared.notes.push(format!(
            "{} of {known} ports were compared with what Linkerd enforces; ask by namespace for the others.",
            ports.len()
        ));
    }
    let end = Instant::now() + TIME;
    let (mut failed, mut broken) = (0_usize, None);
    let count = ports.len();
    let mut answers = stream::iter(ports)
        .map(|(workload, port)| async move {
            let answer = compare(ours, enforced, &workload, port).await;
            (workload, port, answer)
        })
        .buffered(AT_ONCE);
    let mut asked = 0;
    while let Ok(Some((workload, port, answer))) = timeout_at(end, answers.next()).await {
        asked += 1;
        match answer {
            Ok(drift) => {
                compared.ports += 1;
                compared.findings.extend(finding(&workload, port, &drift));
            }
            Err(CompareError::Ask(error)) => {
                failed += 1;
                broken.get_or_insert(error);
            }
            // It went while the others were compared.
            Err(CompareError::NotKnown { .. }) => failed += 1,
        }
    }
    if asked < count {
        let left = count - asked;
        compared.notes.push(format!("There was no time to compare {left} more ports; ask by namespace."));
    }
    match broken {
        Some(error) if compared.ports == 0 => return Err(error),
        Some(error) => {
            compared.notes.push(format!("{failed} ports could not be compared. The first: {error}."))
        }
        None if failed > 0 => compared.notes.push(format!("{failed} ports went while others were compared.")),
        None => {}
    }
    if !compared.findings.is_empty() {
        compared.notes.push(
            "Changes of the last 15 seconds may not have reached Linkerd's policy controller; what stays is drift."
                .to_owned(),
        );
    }
    Ok(compared)
}

/// What differs on one port; none when nothing does.
fn finding(workload: &WorkloadKey, port: u16, drift: &Drift) -> Option<v1::Finding> {
    if drift.is_none() {
        return None;
    }
    let differences = &drift.differences;
    let mut sentences: Vec<String> =
        differences.iter().take(MAX_DIFFERENCES).map(ToString::to_string).collect();
    if differences.len() > MAX_DIFFERENCES {
        sentences.push(format!("{} more", differences.len() - MAX_DIFFERENCES));
    }
    let object = match workload {
        WorkloadKey::Pod(key) => format!("pod/{}/{}", key.namespace, key.name),
        WorkloadKey::ExternalWorkload(key) => format!("externalworkload/{}/{}", key.namespace, key.name),
    };
    Some(v1::Finding {
        code: "drift".to_owned(),
        severity: v1::Severity::Error.into(),
        text: format!("Port {port} of {object} is enforced otherwise than written: {}", sentences.join("; ")),
        objects: vec![format!("{object}:{port}")],
        fix: "Look at the log of the policy controller (container `policy` of linkerd-destination) for a refused object \
              or a lost watch; restarting the controller makes it read everything anew."
            .to_owned(),
        written_json: drift.written.to_string(),
        enforced_json: drift.enforced.to_string(),
    })
}

#[cfg(test)]
mod tests;
