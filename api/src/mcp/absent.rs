//! Which tools there are here and now: those that are switched on and have what they answer from.

use super::{
    Context,
    tool::{TOOLS, Tool, Toolset},
};

/// Why a tool that is built in is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Absent {
    /// Settings say so.
    #[error("it is switched off by the operator of this server")]
    Off,
    /// There is nothing that could answer.
    #[error("no Prometheus is configured here: an operator can give the API --prometheus-url")]
    NoPrometheus,
    /// There is nothing that could answer, or flags say that it may not be asked.
    #[error(
        "the Kubernetes API may not be asked from here: an operator can allow it (mcp.kubernetesReads in the chart)"
    )]
    NoKubernetes,
}

// === impl Absent ===

impl Absent {
    /// One word for metrics and logs.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Off => "switched_off",
            Self::NoPrometheus | Self::NoKubernetes => "not_configured",
        }
    }
}

// === impl Context ===

impl Context {
    /// Whether a tool can be called now.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub(crate) fn offers(&self, tool: &Tool) -> Result<(), Absent> {
        if !self.settings.load().on(tool) {
            return Err(Absent::Off);
        }
        match tool.set {
            Toolset::Prometheus if self.prometheus.is_none() => Err(Absent::NoPrometheus),
            Toolset::Kubernetes if self.kubernetes.is_none() => Err(Absent::NoKubernetes),
            _ => Ok(()),
        }
    }

    /// The tools that can be called now, in the order in which clients see them.
    pub(crate) fn offered(&self) -> impl Iterator<Item = &'static Tool> {
        TOOLS.iter().filter(|tool| self.offers(tool).is_ok())
    }
}
