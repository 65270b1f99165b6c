//! The reader's two connections to Redis: one that it asks, one that is pushed to.

use super::{
    Fault, RedisServer,
    inbox::{Arrival, Inbox},
};
use crate::graph::wire::Names;
use futures::StreamExt;
use linkerd_mcp_feed::Subscribed;
use redis::{RedisError, aio::MultiplexedConnection};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// How to get connected.
#[derive(Debug)]
pub(super) struct Dialer {
    dialer: linkerd_mcp_feed::Dialer,
    /// Where Redis was last.
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
        let dialer = linkerd_mcp_feed::Dialer::new(server)?;
        Ok(Self { address: dialer.address(), dialer })
    }

    /// Connects and subscribes; what is published from here on is in the inbox.
    pub(super) async fn dial(&mut self, names: &Names) -> Result<Link, Fault> {
        let node = self.dialer.find().await?;
        let subscribed = node.subscribe(&[&names.delta, &names.metrics]).await?;
        let redis = node.commands().await?;
        self.address = node.address().to_owned();
        let inbox = Arc::new(Inbox::default());
        let pump = tokio::spawn(pump(subscribed, inbox.clone(), names.metrics.clone()));
        Ok(Link { redis, inbox, pump })
    }

    pub(super) fn fault(&self, error: RedisError) -> Fault {
        self.dialer.fault(error).into()
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

/// Moves what is pushed into the inbox until the connection ends, or the master is another one.
async fn pump(mut subscribed: Subscribed, inbox: Arc<Inbox>, frames: String) {
    let mut messages = subscribed.on_message();
    while let Some(message) = messages.next().await {
        let bytes = message.get_payload_bytes().to_vec();
        if message.get_channel_name() == frames { inbox.frame(bytes) } else { inbox.envelope(bytes) }
    }
    inbox.close();
}
