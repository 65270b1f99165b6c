//! Finding the server that takes our writes, and connecting to it.

use crate::{
    MemoryPolicy, RedisFault,
    fault::During,
    sentinel,
    server::{Login, Place, RedisServer},
};
use futures::{Stream, StreamExt as _, future::BoxFuture};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Msg, RedisError,
    aio::{MultiplexedConnection, PubSub},
};
use std::sync::Arc;

/// Finds the server and connects to it. Clones know the same.
#[derive(Debug, Clone)]
pub struct Dialer {
    server: Arc<RedisServer>,
    info: ConnectionInfo,
    known: Arc<Mutex<Known>>,
}

/// What was found at the last connection of this process.
#[derive(Debug, Default)]
struct Known {
    address: Option<String>,
    policy: Option<(String, MemoryPolicy)>,
    missing: Option<String>,
}

/// One server: the one at the URL, or the master that Sentinel or Cluster named.
#[derive(Debug, Clone)]
pub struct Node {
    dialer: Dialer,
    client: Client,
    address: String,
}

/// Channels that are listened to.
pub struct Subscribed {
    pubsub: PubSub,
    moved: BoxFuture<'static, ()>,
}

/// How many nodes of a cluster are asked for the owner of our keys. The first knows it unless slots are being moved.
const HOPS: usize = 4;

// === impl Dialer ===

impl Dialer {
    /// Nothing is connected and no file is read yet.
    ///
    /// # Errors
    ///
    /// When the URL cannot be used.
    pub fn new(server: RedisServer) -> Result<Self, RedisFault> {
        let info = server.info()?;
        Ok(Self { server: Arc::new(server), info, known: Arc::default() })
    }

    /// Where Redis was last, for people: `host:port`. Before the first connection, where it is looked for.
    pub fn address(&self) -> String {
        let known = self.known.lock().address.clone();
        known.unwrap_or_else(|| match &self.server.place {
            Place::Sentinels(sentinels) => {
                format!("the master `{}` of {}", sentinels.master, sentinels.addresses.join(", "))
            }
            Place::Url(_) | Place::Cluster { .. } => sentinel::written(self.info.addr()),
        })
    }

    /// The options it was made of.
    pub fn server(&self) -> &RedisServer {
        &self.server
    }

    /// The server that takes our writes.
    ///
    /// # Errors
    ///
    /// When it cannot be found within the time to connect.
    pub async fn find(&self) -> Result<Node, RedisFault> {
        let limit = self.server.connect_timeout;
        let finding = async {
            match &self.server.place {
                Place::Url(_) => self.node(self.info.clone(), &self.server.login).await,
                Place::Cluster { key, .. } => self.owner(key).await,
                Place::Sentinels(sentinels) => {
                    let mut last = None;
                    for (host, port) in sentinel::masters(&self.server, sentinels).await? {
                        let address = self.server.address(host, port);
                        let node = self.node(self.info.clone().set_addr(address), &self.server.login).await?;
                        match sentinel::is_master(&node.client).await {
                            Ok(true) => return Ok(node),
                            Ok(false) => {
                                last = Some(sentinels.fault(format!(
                                    "they name {}, which is no master; a fail-over may be under way",
                                    node.address
                                )))
                            }
                            Err(error) => last = Some(node.dialing_fault(error)),
                        }
                    }
                    Err(last.unwrap_or_else(|| sentinels.fault("they name nobody".to_owned())))
                }
            }
        };
        tokio::time::timeout(limit, finding).await.unwrap_or_else(|_| Err(self.silent(self.address())))
    }

    fn during(&self) -> During {
        During::Dialing { tls: matches!(self.info.addr(), ConnectionAddr::TcpTls { .. }) }
    }

    /// Nothing came in the time to connect.
    fn silent(&self, address: String) -> RedisFault {
        let limit = self.server.connect_timeout;
        RedisFault::Timeout { address, limit, advice: self.during().on_silence() }
    }

    /// The node of the cluster that has `key`, and with it all our keys.
    async fn owner(&self, key: &str) -> Result<Node, RedisFault> {
        let mut info = self.info.clone();
        let mut refusal = None;
        for _ in 0..HOPS {
            let node = self.node(info.clone(), &self.server.login).await?;
            let asked = async {
                let mut redis = node.client.get_multiplexed_async_connection().await?;
                redis::cmd("GET").arg(key).exec_async(&mut redis).await
            };
            let Err(error) = asked.await else { return Ok(node) };
            // Without the right to GET the node may still be the right one; what is missing is said later.
            if error.code() == Some("NOPERM") {
                return Ok(node);
            }
            let owner = error.redirect_node().and_then(|(to, _)| redirected(info.addr(), to));
            let Some((host, port)) = owner else { return Err(node.dialing_fault(error)) };
            let address = match info.addr() {
                ConnectionAddr::TcpTls { insecure, .. } => {
                    ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
                }
                _ => ConnectionAddr::Tcp(host, port),
            };
            info = info.set_addr(address);
            refusal = Some(node.dialing_fault(error));
        }
        Err(refusal.unwrap_or(RedisFault::Socket))
    }

    async fn node(&self, info: ConnectionInfo, login: &Login) -> Result<Node, RedisFault> {
        let client = self.server.client(info, login).await?;
        let address = sentinel::written(client.get_connection_info().addr());
        Ok(Node { dialer: self.clone(), client, address })
    }

    /// What an error of a command means.
    pub fn fault(&self, error: RedisError) -> RedisFault {
        let missing = self.known.lock().missing.clone();
        RedisFault::of(error, &self.address(), self.server.command_timeout, During::Command, missing)
    }

    /// Ends when Sentinel or Cluster names another master than the one at `address`; never without them.
    async fn moved(self, address: String) {
        if matches!(self.server.place, Place::Url(_)) {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(self.server.look_every).await;
            match self.find().await {
                Ok(node) if node.address != address => {
                    tracing::info!(from = %address, to = %node.address, "the master of Redis is another one; following it");
                    return;
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "cannot find out whether the master of Redis moved"),
            }
        }
    }

    fn connected(&self, address: &str) {
        self.server.metrics.connected();
        let before = self.known.lock().address.replace(address.to_owned());
        if before.is_some_and(|before| before != address) {
            self.server.metrics.moved();
        }
    }
}

/// The address in a redirection; without a host it is the host that was asked.
fn redirected(asked: &ConnectionAddr, to: &str) -> Option<(String, u16)> {
    let (host, port) = to.rsplit_once(':')?;
    let same = match asked {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.as_str(),
        _ => return None,
    };
    let host = if host.is_empty() || host == "?" { same } else { host };
    Some((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port.parse().ok()?))
}

// === impl Node ===

impl Node {
    /// Where it is, for people.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection for commands, after a look at what we may do there and at what it does when it is full.
    ///
    /// # Errors
    ///
    /// When it is not made within the time to connect. What we may not do is no error yet, it is in the log.
    pub async fn commands(&self) -> Result<MultiplexedConnection, RedisFault> {
        let connection = self.timed(self.checked()).await?;
        self.dialer.connected(&self.address);
        Ok(connection)
    }

    /// A connection of its own that listens on `channels`. What is published from here on is in it.
    ///
    /// # Errors
    ///
    /// When it is not made within the time to connect.
    pub async fn subscribe(&self, channels: &[&str]) -> Result<Subscribed, RedisFault> {
        let subscribing = async {
            let mut pubsub = self.client.get_async_pubsub().await?;
            pubsub.subscribe(channels).await?;
            Ok(pubsub)
        };
        let pubsub = self.timed(subscribing).await?;
        Ok(Subscribed { pubsub, moved: self.moved() })
    }

    /// Ends when Sentinel or Cluster names another master; never without them.
    pub fn moved(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.dialer.clone().moved(self.address.clone()))
    }

    async fn checked(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection().await?;
        let server = &self.dialer.server;
        let policy = MemoryPolicy::ask(&mut connection).await?;
        server.metrics.found(&policy);
        let found = Some((self.address.clone(), policy.clone()));
        let before = std::mem::replace(&mut self.dialer.known.lock().policy, found.clone());
        if before != found {
            policy.log(&self.address);
        }
        let Some(rights) = &server.rights else { return Ok(connection) };
        let tried = rights.tried(&mut connection).await?;
        server.metrics.lacks(tried.count);
        let before = std::mem::replace(&mut self.dialer.known.lock().missing, tried.missing.clone());
        if let Some(missing) = tried.missing.filter(|missing| before.as_ref() != Some(missing)) {
            tracing::warn!(
                address = %self.address,
                "Redis does not permit all that the feed needs; add it with `{missing}`"
            );
        }
        if tried.clean { Ok(connection) } else { self.connection().await }
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisError> {
        let server = &self.dialer.server;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(server.connect_timeout))
            .set_response_timeout(Some(server.command_timeout));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// The library's own limits do not cover the login, nor the check.
    async fn timed<T>(&self, dialing: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisFault> {
        match tokio::time::timeout(self.dialer.server.connect_timeout, dialing).await {
            Ok(dialed) => dialed.map_err(|error| self.dialing_fault(error)),
            Err(_) => Err(self.dialer.silent(self.address.clone())),
        }
    }

    fn dialing_fault(&self, error: RedisError) -> RedisFault {
        let missing = self.dialer.known.lock().missing.clone();
        let limit = self.dialer.server.connect_timeout;
        RedisFault::of(error, &self.address, limit, self.dialer.during(), missing)
    }
}

// === impl Subscribed ===

impl Subscribed {
    /// What is published, until the connection ends or the master is another one.
    pub fn on_message(&mut self) -> impl Stream<Item = Msg> + '_ {
        self.pubsub.on_message().take_until(&mut self.moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_without_a_host_stays_at_the_host_that_was_asked() {
        let asked = ConnectionAddr::Tcp("redis".to_owned(), 6379);
        let to = |text| redirected(&asked, text);
        assert_eq!(to("10.0.0.1:7000"), Some(("10.0.0.1".to_owned(), 7000)));
        assert_eq!(to(":7000"), Some(("redis".to_owned(), 7000)));
        assert_eq!(to("fd00::1:7000"), Some(("fd00::1".to_owned(), 7000)));
        assert_eq!(to("nowhere"), None);
    }
}
