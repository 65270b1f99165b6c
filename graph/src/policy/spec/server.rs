//! A Server.

use super::{Fault, read};
use crate::{id::Text, policy::selector::Selector};
use serde::Deserialize;
use serde_json::Value;
use std::num::NonZeroU16;

/// A Server that can be read.
#[derive(Debug, Clone)]
pub(in crate::policy) struct ServerSpec {
    pub(in crate::policy) selected: Selected,
    pub(in crate::policy) port: Port,
    pub(in crate::policy) protocol: ProxyProtocol,
    /// As written; text that is no policy counts as none.
    pub(in crate::policy) access_policy: Option<Text>,
}

/// Which workloads.
#[derive(Debug, Clone)]
pub(in crate::policy) enum Selected {
    Pods(Selector),
    ExternalWorkloads(Selector),
}

/// Which of their ports. A number in a string is a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(in crate::policy) enum Port {
    Number(NonZeroU16),
    Name(Text),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(in crate::policy) enum ProxyProtocol {
    #[default]
    #[serde(rename = "unknown")]
    Unknown,
    #[serde(rename = "HTTP/1")]
    Http1,
    #[serde(rename = "HTTP/2")]
    Http2,
    #[serde(rename = "gRPC")]
    Grpc,
    #[serde(rename = "opaque")]
    Opaque,
    #[serde(rename = "TLS")]
    Tls,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    pod_selector: Option<Selector>,
    external_workload_selector: Option<Selector>,
    port: Port,
    proxy_protocol: Option<ProxyProtocol>,
    access_policy: Option<Text>,
}

// === impl ServerSpec ===

impl ServerSpec {
    pub(in crate::policy) fn read(spec: &Value) -> Result<Self, Fault> {
        let raw: Raw = read(spec)?;
        // The schema allows one selector; of two the controller takes the first in the order of their names.
        let selected = match (raw.external_workload_selector, raw.pod_selector) {
            (Some(selector), _) => Selected::ExternalWorkloads(selector),
            (None, Some(selector)) => Selected::Pods(selector),
            (None, None) => return Err(Fault::NoSelector),
        };
        let protocol = raw.proxy_protocol.unwrap_or_default();
        Ok(Self { selected, port: raw.port, protocol, access_policy: raw.access_policy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_read_is_no_server() {
        for spec in [
            json!({"port": 80}),
            json!({"podSelector": {}}),
            json!({"podSelector": {}, "port": 0}),
            json!({"podSelector": {}, "port": 65_536}),
            json!({"podSelector": {}, "port": 80, "proxyProtocol": "HTTP"}),
            json!({"podSelector": {}, "port": 80, "accessPolicy": 1}),
            json!("nonsense"),
        ] {
            assert!(ServerSpec::read(&spec).is_err(), "{spec}");
        }
    }

    #[test]
    fn a_number_in_a_string_is_a_name_and_the_protocol_is_unknown_by_default() {
        let server = ServerSpec::read(&json!({"podSelector": {}, "port": "8080"})).unwrap();
        assert_eq!(server.port, Port::Name("8080".into()));
        assert_eq!(server.protocol, ProxyProtocol::Unknown);
    }
}
