//! Which tools there are may change while this runs, when an operator switches some: who listens is told.

use super::{
    offer::{Offer, Reply},
    settings::Live,
    subscription::closed,
};
use crate::authorization::Granted;
use parking_lot::Mutex;
use rmcp::{
    RoleServer,
    model::{ServerCapabilities, SubscriptionFilter},
    service::{Peer, SubscriptionContext},
};
use std::sync::Arc;
use tokio::{sync::watch, task::JoinSet};

/// News of the list of tools. Only settings in a file change it, so without one there is none, and none is announced.
#[derive(Debug)]
pub(crate) struct ToolList {
    settings: Live,
    /// One for each session. Ends with this.
    tellers: Mutex<JoinSet<()>>,
}

// === impl ToolList ===

impl ToolList {
    pub(crate) fn new(settings: Live) -> Self {
        Self { settings, tellers: Mutex::default() }
    }
}

impl Offer for ToolList {
    fn announce(&self, capabilities: &mut ServerCapabilities) {
        if self.settings.may_change() {
            capabilities.tools.get_or_insert_default().list_changed = Some(true);
        }
    }

    fn accept(&self, requested: &SubscriptionFilter) -> SubscriptionFilter {
        let mut accepted = SubscriptionFilter::new();
        accepted.tools_list_changed =
            requested.tools_list_changed.filter(|wanted| *wanted && self.settings.may_change());
        accepted
    }

    fn listen(&self, stream: Arc<SubscriptionContext>, _: Arc<Granted>) -> Reply<'_, ()> {
        Box::pin(async move {
            if stream.accepted().tools_list_changed == Some(true) {
                let mut changes = self.settings.switched();
                while changes.changed().await.is_ok() {
                    if stream.sink().notify_tool_list_changed().await.is_err() {
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    fn opened(&self, peer: &Peer<RoleServer>) {
        if !self.settings.may_change() {
            return;
        }
        let mut tellers = self.tellers.lock();
        // Those of sessions that have ended.
        while tellers.try_join_next().is_some() {}
        tellers.spawn(tell(peer.clone(), self.settings.switched()));
    }
}

/// Tells a session, until it is gone.
async fn tell(peer: Peer<RoleServer>, mut changes: watch::Receiver<u64>) {
    loop {
        let changed = tokio::select! {
            changed = changes.changed() => changed.is_ok(),
            () = closed(&peer) => false,
        };
        if !changed || peer.notify_tool_list_changed().await.is_err() {
            return;
        }
    }
}
