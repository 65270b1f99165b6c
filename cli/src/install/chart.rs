//! The chart, embedded: the very files that Helm takes.

macro_rules! templates {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../charts/linkerd-mcp/templates/", $name)))),*]
    };
}

/// Every template by its name. A test compares the list with the folder.
pub(super) const TEMPLATES: &[(&str, &str)] = templates! {
    "_authorization.tpl"
    "_helpers.tpl"
    "_policy.tpl"
    "_prometheus.tpl"
    "_redis.tpl"
    "_validate.tpl"
    "api-autoscaler.yaml"
    "api-callers.yaml"
    "api-http-route.yaml"
    "api-ingress.yaml"
    "api-policy.yaml"
    "api-rbac.yaml"
    "api-settings.yaml"
    "api.yaml"
    "authorization.yaml"
    "controller-policy.yaml"
    "controller-rbac.yaml"
    "controller.yaml"
    "namespace-metadata-rbac.yaml"
    "namespace-metadata.yaml"
    "namespace.yaml"
    "network-policy.yaml"
    "pod-disruption-budget.yaml"
    "pod-monitor.yaml"
    "prometheus-rule.yaml"
    "proxy-admin-policy.yaml"
    "redis-policy.yaml"
    "redis-rbac.yaml"
    "redis.yaml"
    "service-monitor.yaml"
    "validate.yaml"
    "viz-policy.yaml"
};

/// Name and version.
pub(super) const CHART: &str = include_str!("../../../charts/linkerd-mcp/Chart.yaml");
/// What every value is unless set.
pub(super) const VALUES: &str = include_str!("../../../charts/linkerd-mcp/values.yaml");
/// What `--ha` sets.
pub(super) const VALUES_HA: &str = include_str!("../../../charts/linkerd-mcp/values-ha.yaml");
/// What values there may be.
pub(super) const SCHEMA: &str = include_str!("../../../charts/linkerd-mcp/values.schema.json");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_template_of_the_chart_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/linkerd-mcp/templates");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            // Words for whoever installs with Helm.
            .filter(|name| name != "NOTES.txt")
            .collect();
        let embedded: BTreeSet<String> = TEMPLATES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(embedded, files);
    }
}
