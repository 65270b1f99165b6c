//! Asks Linkerd's policy controller what it enforces on a port.

mod read;

use super::ask::{AskError, Controller, Failure, Limits, Line, MAX_ANSWER};
use crate::graph::policy::{Answer, WorkloadKey};
use linkerd2_proxy_api::inbound::{
    PortSpec, inbound_server_policies_client::InboundServerPoliciesClient as Client,
};
use serde_json::json;
use tonic::{Code, Request};

/// A client of the policy controller. Cloning shares the connection and its limits.
#[derive(Debug, Clone)]
pub struct PolicyController {
    line: Line,
}

// === impl PolicyController ===

impl PolicyController {
    /// `address` is HOST:PORT, port 8090 of the Service `linkerd-policy`. Connects when it is first asked; needs a
    /// running tokio.
    ///
    /// # Errors
    ///
    /// [`AskError::Address`].
    pub fn new(address: &str, limits: Limits) -> Result<Self, AskError> {
        Ok(Self { line: Line::new(Controller::Policy, address, limits)? })
    }

    /// Its address.
    pub fn address(&self) -> &str {
        self.line.address()
    }

    /// What is enforced on a port of a workload. [`Answer::NotFound`] is an answer too: the controller does not know the
    /// workload, or it is not in the mesh.
    ///
    /// # Errors
    ///
    /// When the controller gives no answer, or one that cannot be read.
    pub async fn get_port(&self, workload: &WorkloadKey, port: u32) -> Result<Answer, AskError> {
        let mut request = Request::new(PortSpec { workload: token(workload), port });
        request.set_timeout(self.line.limits().time);
        let mut client = Client::new(self.line.channel()).max_decoding_message_size(MAX_ANSWER);
        let question = async {
            match client.get_port(request).await {
                Ok(answer) => Ok(Answer::Ok(read::server(answer.into_inner())?)),
                Err(status) if status.code() == Code::NotFound => Ok(Answer::NotFound),
                Err(status) if status.code() == Code::InvalidArgument => Ok(Answer::InvalidArgument),
                Err(status) => Err(Failure::from(status)),
            }
        };
        self.line.ask(question).await
    }
}

/// How proxies name their workload to the controller.
fn token(workload: &WorkloadKey) -> String {
    let key = workload.key();
    match workload {
        WorkloadKey::Pod(_) => json!({ "ns": key.namespace, "pod": key.name }),
        WorkloadKey::ExternalWorkload(_) => json!({ "ns": key.namespace, "external_workload": key.name }),
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::fact::Key;

    #[test]
    fn a_workload_is_named_as_its_proxy_names_it() {
        assert_eq!(token(&WorkloadKey::Pod(Key::new("shop", "web-0"))), r#"{"ns":"shop","pod":"web-0"}"#);
        assert_eq!(
            token(&WorkloadKey::ExternalWorkload(Key::new("shop", "vm"))),
            r#"{"external_workload":"vm","ns":"shop"}"#
        );
    }
}
