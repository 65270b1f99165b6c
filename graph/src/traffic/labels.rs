//! The labels of a row, found in one pass over them.

use crate::promql::answer::Row;

/// The labels that rows are read for; empty when absent, as Prometheus sees it.
#[derive(Debug, Default)]
pub(super) struct Labels<'a> {
    pub(super) branch: &'a str,
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    /// The first workload label that is not empty, in the order of [`SOURCE`].
    pub(super) source: Option<(Owner, &'a str)>,
    pub(super) dst_namespace: &'a str,
    pub(super) dst_service: &'a str,
    pub(super) dst_pod: &'a str,
    pub(super) dst_target_cluster: &'a str,
    /// The same for the endpoint, in the order of [`TARGET`].
    pub(super) target: Option<(Owner, &'a str)>,
    pub(super) authority: &'a str,
    pub(super) target_addr: &'a str,
    pub(super) target_port: &'a str,
    pub(super) tls: &'a str,
    pub(super) no_tls_reason: &'a str,
    pub(super) server_id: &'a str,
    pub(super) client_id: &'a str,
    pub(super) classification: &'a str,
    pub(super) parent_namespace: &'a str,
    pub(super) parent_name: &'a str,
    pub(super) parent_port: &'a str,
    pub(super) backend_namespace: &'a str,
    pub(super) backend_name: &'a str,
    pub(super) backend_port: &'a str,
    pub(super) http_status: &'a str,
    pub(super) grpc_status: &'a str,
    pub(super) error: &'a str,
    pub(super) authz_kind: &'a str,
    pub(super) authz_name: &'a str,
}

/// What labels name as a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Pod,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    ReplicationController,
    Job,
    CronJob,
    ExternalWorkload,
}

/// As [`crate::promql::queries::WORKLOAD`].
const SOURCE: [(&str, Owner); 7] = [
    ("deployment", Owner::Deployment),
    ("statefulset", Owner::StatefulSet),
    ("daemonset", Owner::DaemonSet),
    ("replicaset", Owner::ReplicaSet),
    ("replicationcontroller", Owner::ReplicationController),
    ("k8s_job", Owner::Job),
    ("cronjob", Owner::CronJob),
];

/// As [`crate::promql::queries::DST_WORKLOAD`].
const TARGET: [(&str, Owner); 8] = [
    ("dst_deployment", Owner::Deployment),
    ("dst_statefulset", Owner::StatefulSet),
    ("dst_daemonset", Owner::DaemonSet),
    ("dst_replicaset", Owner::ReplicaSet),
    ("dst_replicationcontroller", Owner::ReplicationController),
    ("dst_k8s_job", Owner::Job),
    ("dst_cronjob", Owner::CronJob),
    ("dst_external_workload", Owner::ExternalWorkload),
];

// === impl Labels ===

impl<'a> Labels<'a> {
    pub(super) fn of(row: &'a Row<'_>) -> Self {
        let mut labels = Self::default();
        let (mut source, mut target) = (usize::MAX, usize::MAX);
        for (name, value) in &row.labels {
            let value: &str = value;
            if value.is_empty() {
                continue;
            }
            let place = match &**name {
                "branch" => &mut labels.branch,
                "namespace" => &mut labels.namespace,
                "pod" => &mut labels.pod,
                "dst_namespace" => &mut labels.dst_namespace,
                "dst_service" => &mut labels.dst_service,
                "dst_pod" => &mut labels.dst_pod,
                "dst_target_cluster" => &mut labels.dst_target_cluster,
                "authority" => &mut labels.authority,
                "target_addr" => &mut labels.target_addr,
                "target_port" => &mut labels.target_port,
                "tls" => &mut labels.tls,
                "no_tls_reason" => &mut labels.no_tls_reason,
                "server_id" => &mut labels.server_id,
                "client_id" => &mut labels.client_id,
                "classification" => &mut labels.classification,
                "parent_namespace" => &mut labels.parent_namespace,
                "parent_name" => &mut labels.parent_name,
                "parent_port" => &mut labels.parent_port,
                "backend_namespace" => &mut labels.backend_namespace,
                "backend_name" => &mut labels.backend_name,
                "backend_port" => &mut labels.backend_port,
                "http_status" => &mut labels.http_status,
                "grpc_status" => &mut labels.grpc_status,
                "error" => &mut labels.error,
                "authz_kind" => &mut labels.authz_kind,
                "authz_name" => &mut labels.authz_name,
                name => {
                    first(&SOURCE, name, value, &mut source, &mut labels.source);
                    first(&TARGET, name, value, &mut target, &mut labels.target);
                    continue;
                }
            };
            *place = value;
        }
        labels
    }
}

/// Keeps `value` when its label comes before the best one so far.
fn first<'a>(
    table: &[(&str, Owner)],
    name: &str,
    value: &'a str,
    best: &mut usize,
    kept: &mut Option<(Owner, &'a str)>,
) {
    if let Some(at) = table.iter().position(|(label, _)| *label == name)
        && at < *best
    {
        *best = at;
        *kept = Some((table[at].1, value));
    }
}

// === impl Owner ===

impl Owner {
    /// As in ids.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::ReplicaSet => "replicaset",
            Self::ReplicationController => "replicationcontroller",
            Self::Job => "job",
            Self::CronJob => "cronjob",
            Self::ExternalWorkload => "externalworkload",
        }
    }

    /// True when only Kubernetes' objects say what it belongs to.
    pub(super) fn owned(self) -> bool {
        matches!(self, Self::Pod | Self::ReplicaSet | Self::Job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::queries::{DST_WORKLOAD, WORKLOAD};

    #[test]
    fn the_labels_of_workloads_are_those_that_are_asked_for_in_their_order() {
        assert_eq!(SOURCE.map(|(label, _)| label), WORKLOAD);
        assert_eq!(TARGET.map(|(label, _)| label), DST_WORKLOAD);
    }

    #[test]
    fn the_first_workload_label_that_is_not_empty_counts_wherever_it_stands() {
        let row = |labels: &[(&'static str, &'static str)]| Row {
            labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            value: 1.0,
        };
        let one =
            row(&[("k8s_job", "nightly"), ("statefulset", "db"), ("deployment", ""), ("dst_cronjob", "c")]);
        let labels = Labels::of(&one);
        assert_eq!(
            (labels.source, labels.target),
            (Some((Owner::StatefulSet, "db")), Some((Owner::CronJob, "c")))
        );
    }
}
