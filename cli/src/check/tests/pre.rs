//! What an installation needs, broken.

use super::*;

pub(super) const BREAKS: &[Break] = &[
    (
        "pre-mcp-not-installed",
        "it is installed already",
        |it| it.namespaces = Ok(vec!["linkerd-mcp".to_owned()]),
        W,
        "it is installed in Namespace linkerd-mcp; installing it there again is an upgrade",
    ),
    (
        "pre-mcp-can-install",
        "whoever installs may not create Namespaces",
        |it| it.missing_to_install = Ok(vec!["create namespaces".to_owned()]),
        E,
        "you may not create namespaces",
    ),
    (
        "pre-mcp-cluster-fits",
        "monitors are wanted, and the Prometheus operator is not there; nor is viz' Namespace",
        |it| {
            let lacking =
                ["CustomResourceDefinition podmonitors.monitoring.coreos.com", "Namespace linkerd-viz"];
            it.lacking = Ok(lacking.map(str::to_owned).to_vec());
        },
        E,
        "there is no CustomResourceDefinition podmonitors.monitoring.coreos.com, Namespace linkerd-viz",
    ),
    (
        "pre-mcp-prometheus",
        "there is no linkerd-viz",
        |it| it.viz = Ok(Vec::new()),
        W,
        "no Namespace has the label linkerd.io/extension=viz: name a Prometheus with --set prometheus.url=..., or the graph \
         has no numbers",
    ),
];
