//! A connection to Redis that is made when it is needed, and made again after it broke.

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind, TlsCertificates,
    aio::{MultiplexedConnection, PubSub},
};
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Where Redis is and how long we wait for it.
#[derive(Clone)]
pub struct RedisServer {
    /// `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS.
    pub url: String,
    /// PEM of the authority that signed the server's certificate, where the system does not know it.
    pub ca_pem: Option<Vec<u8>>,
    /// How long connecting may take, login included.
    pub connect_timeout: Duration,
    /// How long a command may take. A snapshot of a large mesh has some 10 MB.
    pub command_timeout: Duration,
}

/// What went wrong between us and Redis.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisFault {
    /// The URL or the certificate cannot be used. The URL is not repeated: it may hold the password.
    #[error(
        "the Redis URL cannot be used; write redis://[user:password@]host:port[/db], or rediss:// for TLS"
    )]
    Url(#[source] Arc<RedisError>),
    /// No connection.
    #[error(
        "cannot reach Redis at {address}; check that it runs and that nothing between us refuses the connection"
    )]
    Unreachable {
        /// Where we look for it.
        address: String,
        /// Why not.
        #[source]
        source: Arc<RedisError>,
    },
    /// It does not answer in time.
    #[error("Redis at {address} did not answer within {limit:?}; check its load and the network")]
    Timeout {
        /// Where it is.
        address: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The password is missing or wrong.
    #[error("Redis at {address} refuses our login; check the user and the password in the Redis URL")]
    Login {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// We are logged in but may not do what we need to.
    #[error(
        "Redis at {address} does not permit what the feed needs; the ACL of the user must allow the keys and channels `mcp:*` and `mesh:*` and the commands of strings, streams, pub/sub and scripts"
    )]
    Permission {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// It refuses a command: out of memory, read-only, loading, or not a Redis we know.
    #[error("Redis at {address} refuses a command")]
    Command {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
}

/// The connection, and when to try again after it broke.
pub(super) struct Connection {
    client: Client,
    server: RedisServer,
    address: String,
    open: Option<MultiplexedConnection>,
    failures: u32,
    retry_at: Option<Instant>,
    last_fault: Option<RedisFault>,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

// === impl RedisServer ===

impl RedisServer {
    /// The server at `url`, with timeouts of 3 s to connect and 5 s for a command.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca_pem: None,
            connect_timeout: Duration::from_secs(3),
            command_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for RedisServer {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("connect_timeout", &self.connect_timeout)
            .field("command_timeout", &self.command_timeout)
            .finish_non_exhaustive()
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(server: RedisServer) -> Result<Self, RedisFault> {
        let client = match &server.ca_pem {
            Some(pem) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
                Client::build_with_tls(server.url.as_str(), certificates)
            }
            None => Client::open(server.url.as_str()),
        };
        let client = client.map_err(|error| RedisFault::Url(Arc::new(error)))?;
        let address = client.get_connection_info().addr().to_string();
        Ok(Self { client, server, address, open: None, failures: 0, retry_at: None, last_fault: None })
    }

    /// Another connection to the same server, not yet open.
    pub(super) fn another(&self) -> Self {
        Self {
            client: self.client.clone(),
            server: self.server.clone(),
            address: self.address.clone(),
            open: None,
            failures: 0,
            retry_at: None,
            last_fault: None,
        }
    }

    /// Runs `command` on the connection. While the pause after a failure lasts, it fails at once with what failed.
    pub(super) async fn run<T, F: Future<Output = Result<T, RedisError>>>(
        &mut self,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, RedisFault> {
        if let (Some(retry_at), Some(fault)) = (self.retry_at, &self.last_fault)
            && Instant::now() < retry_at
        {
            return Err(fault.clone());
        }
        let connection = self.open().await?;
        match command(connection).await {
            Ok(value) => {
                self.failures = 0;
                Ok(value)
            }
            Err(error) => Err(self.failed(error, self.server.command_timeout)),
        }
    }

    /// Waits until the pause after a failure is over.
    pub(super) async fn pause(&self) {
        if let Some(retry_at) = self.retry_at {
            tokio::time::sleep_until(retry_at).await;
        }
    }

    /// A connection of its own that listens on `channel`.
    pub(super) async fn listen(&mut self, channel: &str) -> Result<PubSub, RedisFault> {
        let limit = self.server.connect_timeout;
        let connecting = async {
            let mut pubsub = self.client.get_async_pubsub().await?;
            pubsub.subscribe(channel).await?;
            Ok(pubsub)
        };
        let connected = tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| Err(timed_out()));
        match connected {
            Ok(pubsub) => {
                self.succeeded();
                Ok(pubsub)
            }
            Err(error) => Err(self.failed(error, limit)),
        }
    }

    async fn open(&mut self) -> Result<MultiplexedConnection, RedisFault> {
        if let Some(open) = &self.open {
            return Ok(open.clone());
        }
        let limit = self.server.connect_timeout;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(self.server.command_timeout));
        // The library's own limit does not cover the login.
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| Err(timed_out())) {
            Ok(connection) => {
                self.open = Some(connection.clone());
                self.retry_at = None;
                self.last_fault = None;
                Ok(connection)
            }
            Err(error) => Err(self.failed(error, limit)),
        }
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = None;
        self.last_fault = None;
    }

    fn failed(&mut self, error: RedisError, limit: Duration) -> RedisFault {
        let fault = fault(error, &self.address, limit);
        // A command that is refused says nothing against the connection.
        if !matches!(fault, RedisFault::Command { .. } | RedisFault::Permission { .. }) {
            self.open = None;
            let pause = (SHORTEST_PAUSE * 2_u32.saturating_pow(self.failures.min(10))).min(LONGEST_PAUSE);
            self.failures = self.failures.saturating_add(1);
            self.retry_at = Some(Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0)));
            self.last_fault = Some(fault.clone());
        }
        fault
    }
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn fault(error: RedisError, address: &str, limit: Duration) -> RedisFault {
    let address = address.to_owned();
    let source = Arc::new(error);
    match source.kind() {
        ErrorKind::AuthenticationFailed => RedisFault::Login { address, source },
        ErrorKind::Server(ServerErrorKind::NoPerm) => RedisFault::Permission { address, source },
        _ if matches!(source.code(), Some("NOAUTH" | "WRONGPASS")) => RedisFault::Login { address, source },
        _ if source.is_timeout() => RedisFault::Timeout { address, limit },
        ErrorKind::InvalidClientConfig => RedisFault::Url(source),
        ErrorKind::Io => RedisFault::Unreachable { address, source },
        _ if source.is_unrecoverable_error() => RedisFault::Unreachable { address, source },
        _ => RedisFault::Command { address, source },
    }
}
