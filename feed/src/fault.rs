//! What can go wrong between us and Redis, in sentences that say what to do. None of them holds a password.

use crate::{rights, tls};
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// What went wrong between us and Redis.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisFault {
    /// The URL or the certificates cannot be used. The URL is not repeated: it may hold the password.
    #[error(
        "the Redis URL cannot be used; write redis://[user:password@]host:port[/db], or rediss:// for TLS"
    )]
    Url(#[source] Arc<RedisError>),
    /// The URL asks for TLS without verification in its fragment.
    #[error("the Redis URL asks for TLS that trusts anybody (#insecure); that takes --redis-tls-insecure")]
    InsecureUrl,
    /// A unix socket, where TLS or a cluster is asked for.
    #[error(
        "the Redis URL names a unix socket, which has neither TLS nor a cluster; name a host, or leave those flags out"
    )]
    Socket,
    /// A certificate or key cannot be used.
    #[error(
        "the certificates for Redis cannot be used; --redis-ca-file, --redis-cert-file and --redis-key-file name PEM files"
    )]
    Certificates(#[source] Arc<RedisError>),
    /// A file of a password, certificate or key cannot be read.
    #[error("cannot read the file {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A file of a password, certificate or key cannot be used.
    #[error("the file {} cannot be used: {reason}", path.display())]
    Contents {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
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
    /// It hangs up before it has said anything, as a server does that expects TLS, or a certificate of ours.
    #[error("Redis at {address} hung up before it answered; {advice}")]
    HungUp {
        /// Where it is.
        address: String,
        /// What to do.
        advice: &'static str,
        /// How.
        #[source]
        source: Arc<RedisError>,
    },
    /// The TLS handshake failed.
    #[error("no TLS with Redis at {address}: {advice}")]
    Tls {
        /// Where it is.
        address: String,
        /// What to do.
        advice: &'static str,
        /// What rustls said.
        #[source]
        source: Arc<RedisError>,
    },
    /// It does not answer in time.
    #[error("Redis at {address} did not answer within {limit:?}; {advice}")]
    Timeout {
        /// Where it is.
        address: String,
        /// What to look at.
        advice: &'static str,
        /// How long we waited.
        limit: Duration,
    },
    /// The password is missing or wrong.
    #[error(
        "Redis at {address} refuses our login; check the user and the password, in --redis-password-file or in the Redis URL"
    )]
    Login {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// We are logged in but may not do what we need to.
    #[error("Redis at {address} does not permit what the feed needs; {advice}")]
    Permission {
        /// Where it is.
        address: String,
        /// What is missing and which ACL rule adds it.
        advice: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// It is a replica, or not the owner of our keys: the master is looked for again.
    #[error(
        "Redis at {address} does not take our writes: it is a replica, or another node of a cluster has our keys; name the master, or give --redis-sentinel or --redis-cluster to follow it"
    )]
    NotMaster {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// It is a cluster, and our keys are in different slots of it.
    #[error(
        "Redis at {address} is a cluster, and our keys are in different slots; give --redis-cluster to both the controller and the API, which puts them into one"
    )]
    Slots {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
    /// The Sentinels do not lead to a master.
    #[error("no master `{master}` by way of the Sentinels {sentinels}: {reason}")]
    Sentinels {
        /// The name of the master.
        master: String,
        /// Whom we asked.
        sentinels: String,
        /// What they said.
        reason: String,
    },
    /// It refuses a command: out of memory, loading, or not a Redis we know.
    #[error("Redis at {address} refuses a command")]
    Command {
        /// Where it is.
        address: String,
        /// What it said.
        #[source]
        source: Arc<RedisError>,
    },
}

/// The moment of an error: while connecting the same error can mean something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum During {
    /// Connecting, without TLS or with it.
    Dialing { tls: bool },
    /// A command on a connection that has worked.
    Command,
}

// === impl RedisFault ===

impl RedisFault {
    /// True when it says nothing against the connection, which can go on being used.
    pub fn leaves_connection(&self) -> bool {
        matches!(self, Self::Command { .. } | Self::Permission { .. } | Self::Slots { .. })
    }

    /// What `error` of the server at `address` means. `missing` is what the check found that we may not do.
    pub(crate) fn of(
        error: RedisError,
        address: &str,
        limit: Duration,
        during: During,
        missing: Option<String>,
    ) -> Self {
        use ServerErrorKind::{CrossSlot, MasterDown, Moved, NoPerm, ReadOnly};
        let address = address.to_owned();
        let source = Arc::new(error);
        if let Some(error) = tls::rustls_error(&*source) {
            return Self::Tls { address, advice: tls::advice(error), source };
        }
        let text = source.to_string();
        match source.kind() {
            ErrorKind::AuthenticationFailed => Self::Login { address, source },
            _ if matches!(source.code(), Some("NOAUTH" | "WRONGPASS")) => Self::Login { address, source },
            kind if kind == ErrorKind::Server(NoPerm) || rights::refused_in_script(&text) => {
                let advice = rights::advice(&text, missing);
                Self::Permission { address, advice, source }
            }
            ErrorKind::Server(ReadOnly | Moved | MasterDown) => Self::NotMaster { address, source },
            ErrorKind::Server(CrossSlot) => Self::Slots { address, source },
            _ if source.is_timeout() => Self::Timeout { address, limit, advice: during.on_silence() },
            ErrorKind::InvalidClientConfig => Self::Url(source),
            _ if during != During::Command
                && source.is_connection_dropped()
                && !source.is_connection_refusal() =>
            {
                Self::HungUp { address, advice: during.on_hang_up(), source }
            }
            ErrorKind::Io => Self::Unreachable { address, source },
            _ if source.is_unrecoverable_error() => Self::Unreachable { address, source },
            _ => Self::Command { address, source },
        }
    }
}

// === impl During ===

impl During {
    /// What to look at when nothing comes. Redis without TLS waits for more of what a client with TLS sends.
    pub(crate) fn on_silence(self) -> &'static str {
        match self {
            Self::Dialing { tls: true } => {
                "check its load and the network, and that it speaks TLS at that port"
            }
            Self::Dialing { tls: false } | Self::Command => "check its load and the network",
        }
    }

    fn on_hang_up(self) -> &'static str {
        match self {
            Self::Dialing { tls: true } => {
                "it may want a certificate of ours that it trusts (--redis-cert-file and --redis-key-file)"
            }
            Self::Dialing { tls: false } | Self::Command => {
                "if it listens with TLS there, use rediss:// or --redis-tls"
            }
        }
    }
}
