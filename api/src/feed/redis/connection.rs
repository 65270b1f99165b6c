//! The reader's two connections to Redis: one that it asks, one that is pushed to.

use super::{
    Fault, RedisServer,
    inbox::{Arrival, Inbox},
};
use crate::graph::wire::Names;
use futures::StreamExt;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind, TlsCertificates,
    aio::MultiplexedConnection,
};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// How to get connected.
#[derive(Debug)]
pub(super) struct Dialer {
    client: Client,
    server: RedisServer,
    address: String,
}

/// Both connections, open.
pub(super) struct Link {
    /// For commands.
    pub(super) redis: MultiplexedConnection,
    inbox: Arc<Inbox>,
    pump: JoinHandle<()>,
}

// === impl Dialer ===

impl Dialer {
    pub(super) fn new(server: RedisServer) -> Result<Self, Fault> {
        let client = match &server.ca_pem {
            Some(pem) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
                Client::build_with_tls(server.url.as_str(), certificates)
            }
            None => Client::open(server.url.as_str()),
        };
        let client = client.map_err(|error| Fault::Url(Arc::new(error)))?;
        let address = client.get_connection_info().addr().to_string();
        Ok(Self { client, server, address })
    }

    /// Connects and subscribes; what is published from here on is in the inbox.
    pub(super) async fn dial(&self, names: &Names) -> Result<Link, Fault> {
        let limit = self.server.connect_timeout;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(self.server.command_timeout));
        let dialing = async {
            let mut pubsub = self.client.get_async_pubsub().await?;
            pubsub.subscribe(&[&names.delta, &names.metrics]).await?;
            let redis = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            Ok((pubsub, redis))
        };
        // The library's own limits do not cover the login and the subscription.
        let dialed = tokio::time::timeout(limit, dialing).await;
        let (pubsub, redis) = match dialed {
            Ok(dialed) => dialed.map_err(|error| self.fault(error))?,
            Err(_) => return Err(Fault::Timeout { address: self.address.clone(), limit }),
        };
        let inbox = Arc::new(Inbox::default());
        let pump = tokio::spawn(pump(pubsub, inbox.clone(), names.metrics.clone()));
        Ok(Link { redis, inbox, pump })
    }

    pub(super) fn fault(&self, error: RedisError) -> Fault {
        let address = self.address.clone();
        let source = Arc::new(error);
        match source.kind() {
            ErrorKind::AuthenticationFailed => Fault::Login { address, source },
            ErrorKind::Server(ServerErrorKind::NoPerm) => Fault::Permission { address, source },
            _ if matches!(source.code(), Some("NOAUTH" | "WRONGPASS")) => Fault::Login { address, source },
            _ if source.is_timeout() => Fault::Timeout { address, limit: self.server.command_timeout },
            ErrorKind::InvalidClientConfig => Fault::Url(source),
            ErrorKind::Io => Fault::Unreachable { address, source },
            _ if source.is_unrecoverable_error() => Fault::Unreachable { address, source },
            _ => Fault::Command { address, source },
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

// === impl Link ===

impl Link {
    pub(super) async fn arrival(&self) -> Arrival {
        self.inbox.next().await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Moves what is pushed into the inbox until the connection ends.
async fn pump(mut pubsub: redis::aio::PubSub, inbox: Arc<Inbox>, frames: String) {
    let mut messages = pubsub.on_message();
    while let Some(message) = messages.next().await {
        let bytes = message.get_payload_bytes().to_vec();
        if message.get_channel_name() == frames { inbox.frame(bytes) } else { inbox.envelope(bytes) }
    }
    inbox.close();
}
