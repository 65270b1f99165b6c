//! Asks Linkerd's destination controller what it tells proxies about a Service.

mod read;

use super::ask::{AskError, Controller, Failure, Limits, Line, MAX_ANSWER};
use crate::graph::{id::ServiceId, query::destination::Told};
use linkerd2_proxy_api::destination::{
    GetDestination, Update, destination_client::DestinationClient as Client,
};
use serde_json::json;
use std::sync::Arc;
use tokio::time;
use tonic::{Code, Request, Streaming};

/// Updates of one stream that are read: a Service that changes faster than it is quiet ends here.
const MAX_UPDATES: usize = 256;

/// A client of the destination controller. Cloning shares the connection and its limits.
#[derive(Debug, Clone)]
pub struct DestinationController {
    line: Line,
    cluster_domain: Arc<str>,
}

// === impl DestinationController ===

impl DestinationController {
    /// `address` is HOST:PORT, port 8086 of the Service `linkerd-dst`. Connects when it is first asked; needs a running
    /// tokio.
    ///
    /// # Errors
    ///
    /// [`AskError::Address`].
    pub fn new(address: &str, cluster_domain: &str, limits: Limits) -> Result<Self, AskError> {
        let line = Line::new(Controller::Destination, address, limits)?;
        Ok(Self { line, cluster_domain: cluster_domain.into() })
    }

    /// Its address.
    pub fn address(&self) -> &str {
        self.line.address()
    }

    /// What a proxy in `client_namespace` is told about a port of a Service. Reads until the stream is quiet, then ends
    /// it: an open one is a watch in the controller.
    ///
    /// # Errors
    ///
    /// When the controller gives no answer, or one that cannot be read. That it does not know the Service is an answer.
    pub async fn get(
        &self,
        service: &ServiceId,
        port: u16,
        client_namespace: Option<&str>,
    ) -> Result<Told, AskError> {
        let (name, namespace, domain) = (service.name(), service.namespace(), &self.cluster_domain);
        let request = Request::new(GetDestination {
            scheme: "k8s".to_owned(),
            path: format!("{name}.{namespace}.svc.{domain}:{port}"),
            context_token: client_namespace.map(|ns| json!({ "ns": ns }).to_string()).unwrap_or_default(),
        });
        let mut client = Client::new(self.line.channel()).max_decoding_message_size(MAX_ANSWER);
        let question = async {
            match client.get(request).await {
                Ok(stream) => self.read(stream.into_inner()).await,
                Err(status) => not_found(status),
            }
        };
        self.line.ask(question).await
    }

    /// Half of the time is for the first update; what came by then is an answer, and a silent stream is none.
    async fn read(&self, mut stream: Streaming<Update>) -> Result<Told, Failure> {
        let limits = self.line.limits();
        let end = time::Instant::now() + limits.time / 2;
        let mut told = Told::default();
        for at in 0..MAX_UPDATES {
            let next = match at {
                0 => Ok(stream.message().await),
                _ if time::Instant::now() >= end => return Ok(told),
                _ => time::timeout(limits.quiet, stream.message()).await,
            };
            match next {
                Err(_quiet) => return Ok(Told { complete: true, ..told }),
                Ok(Ok(Some(update))) => read::apply(&mut told, update)?,
                // It ends no stream by itself unless it ends altogether.
                Ok(Ok(None)) if at == 0 => {
                    return Err(Failure::Read(super::ReadError::Missing("every update")));
                }
                Ok(Ok(None)) => return Ok(told),
                Ok(Err(status)) if at == 0 => return not_found(status),
                Ok(Err(status)) => return Err(status.into()),
            }
        }
        Ok(told)
    }
}

fn not_found(status: tonic::Status) -> Result<Told, Failure> {
    match status.code() {
        Code::NotFound => Ok(Told { complete: true, ..Told::default() }),
        _ => Err(status.into()),
    }
}
