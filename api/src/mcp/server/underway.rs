//! One call of a tool, from its begin to its end.

use super::Server;
use crate::mcp::{gate::Caller, tool::Tool};
use rmcp::ErrorData;
use tokio::time::Instant;

/// A call that is counted and logged when this is dropped, at its end or before.
pub(super) struct Underway<'a> {
    pub(super) server: &'a Server,
    pub(super) caller: &'a Caller,
    /// None for one that is not in the table.
    pub(super) tool: Option<&'a Tool>,
    pub(super) status: &'static str,
    /// Of the method: an error for the model is an answer.
    pub(super) method: &'static str,
    pub(super) started: Instant,
}

// === impl Underway ===

impl<'a> Underway<'a> {
    pub(super) fn begin(server: &'a Server, caller: &'a Caller) -> Self {
        Self { server, caller, tool: None, status: "cancelled", method: "ok", started: Instant::now() }
    }

    /// Ends it with an error of the protocol.
    pub(super) fn refused<T>(mut self, status: &'static str, message: String) -> Result<T, ErrorData> {
        (self.status, self.method) = (status, "error");
        Err(ErrorData::invalid_params(message, None))
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let (took, status, metrics) = (self.started.elapsed(), self.status, &self.server.0.metrics);
        let tool = self.tool.map_or("unknown", |tool| tool.name);
        metrics.called(tool, status, took);
        metrics.answered("tools/call", self.method, took);
        tracing::info!(
            tool,
            set = self.tool.map(|tool| tool.set.name()),
            status,
            caller = &*self.caller.0,
            took_us = took.as_micros(),
            "answered a tool call"
        );
    }
}
