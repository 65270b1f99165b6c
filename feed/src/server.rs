//! Where Redis is, who we are to it, and how long we wait.

use crate::{Redacted, RedisFault, RedisMetrics, Rights, Secret, Tls};
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use std::{sync::Arc, time::Duration};

/// Where Redis is, who we are to it, and how long we wait for it.
///
/// `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct RedisServer {
    /// Where it is, or who knows.
    pub place: Place,
    /// Who we are. What is given here goes before what the URL says.
    pub login: Login,
    /// How TLS is spoken, to Redis and to Sentinels.
    pub tls: Tls,
    /// How long connecting may take, login and check included.
    pub connect_timeout: Duration,
    /// How long a command may take. A snapshot of a large mesh has some 10 MB.
    pub command_timeout: Duration,
    /// With Sentinel or Cluster: how often to ask whether the master is another one.
    pub look_every: Duration,
    /// What we need to be allowed to do. It is checked at every connection; `None` checks nothing.
    pub rights: Option<Rights>,
    /// What is counted.
    pub metrics: RedisMetrics,
}

/// Where Redis is, or who knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At this URL: `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS.
    Url(Redacted),
    /// In a cluster, of which one node is at this URL. All our keys are in the slot of `key`, so one node has them all.
    Cluster {
        /// Of any node, or of a Service before all of them.
        url: Redacted,
        /// One of our keys.
        key: String,
    },
    /// Where Sentinels say.
    Sentinels(Sentinels),
}

/// Whom to ask for the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// `host:port` of each.
    pub addresses: Vec<String>,
    /// The name that the Sentinels have for the master.
    pub master: String,
    /// Who we are to the Sentinels; they have users of their own.
    pub login: Login,
}

/// A user and a password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Of the ACL; `None` is the user `default`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}

// === impl RedisServer ===

impl RedisServer {
    /// The server at `url`, with timeouts of 3 s to connect and 5 s for a command, and no check of rights.
    pub fn new(url: impl Into<String>) -> Self {
        Self::at(Place::Url(url.into().into()))
    }

    /// The server at `place`, otherwise as [`Self::new`].
    pub fn at(place: Place) -> Self {
        Self {
            place,
            login: Login::default(),
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(3),
            command_timeout: Duration::from_secs(5),
            look_every: Duration::from_secs(3),
            rights: None,
            metrics: RedisMetrics::default(),
        }
    }

    /// What the URL says; with Sentinels, nothing but where the first of them is.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub(crate) fn info(&self) -> Result<ConnectionInfo, RedisFault> {
        match &self.place {
            Place::Url(url) | Place::Cluster { url, .. } => self.parsed(url),
            Place::Sentinels(sentinels) => {
                let first = sentinels.addresses.first().map(String::as_str).unwrap_or_default();
                let (host, port) = host_and_port(first)
                    .ok_or_else(|| sentinels.fault(format!("`{first}` is no address; write host:port")))?;
                self.address(host, port)
                    .into_connection_info()
                    .map_err(|error| RedisFault::Url(Arc::new(error)))
            }
        }
    }

    fn parsed(&self, url: &Redacted) -> Result<ConnectionInfo, RedisFault> {
        let info = url.expose().into_connection_info().map_err(|error| RedisFault::Url(Arc::new(error)))?;
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } if !self.tls.insecure => {
                Err(RedisFault::InsecureUrl)
            }
            ConnectionAddr::TcpTls { host, port, .. } => {
                let address = self.secured(host.clone(), *port);
                Ok(info.set_addr(address))
            }
            ConnectionAddr::Tcp(host, port) => {
                let address = self.address(host.clone(), *port);
                Ok(info.set_addr(address))
            }
            _ if self.tls.on || matches!(self.place, Place::Cluster { .. }) => Err(RedisFault::Socket),
            _ => Ok(info),
        }
    }

    /// An address that no URL says anything about.
    pub(crate) fn address(&self, host: String, port: u16) -> ConnectionAddr {
        if self.tls.on { self.secured(host, port) } else { ConnectionAddr::Tcp(host, port) }
    }

    fn secured(&self, host: String, port: u16) -> ConnectionAddr {
        ConnectionAddr::TcpTls { host, port, insecure: self.tls.insecure, tls_params: None }
    }

    /// A client for `info`, logged in as `login` says. Reads the files that are named.
    pub(crate) async fn client(&self, info: ConnectionInfo, login: &Login) -> Result<Client, RedisFault> {
        // Nothing happens when this process has chosen already, and then that choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut settings: RedisConnectionInfo = info.redis_settings().clone().set_skip_set_lib_name();
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &login.password {
            settings = settings.set_password(password.read().await?.expose());
        }
        let secured = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let info = info.set_redis_settings(settings);
        match self.tls.certificates().await? {
            Some(certificates) if secured => Client::build_with_tls(info, certificates)
                .map_err(|error| RedisFault::Certificates(Arc::new(error))),
            _ => Client::open(info).map_err(|error| RedisFault::Url(Arc::new(error))),
        }
    }
}

// === impl Sentinels ===

impl Sentinels {
    pub(crate) fn fault(&self, reason: String) -> RedisFault {
        RedisFault::Sentinels { master: self.master.clone(), sentinels: self.addresses.join(", "), reason }
    }
}

/// `host:port`, the host of IPv6 in brackets or not.
pub(crate) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let usable = !host.is_empty() && !host.contains(['/', '@']);
    Some((usable.then(|| host.to_owned())?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port_and_nothing_else() {
        let same = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(host_and_port("redis-0.redis:26379"), same("redis-0.redis", 26379));
        assert_eq!(host_and_port("[fd00::1]:6379"), same("fd00::1", 6379));
        for none in ["redis", "redis:", ":6379", "redis:70000", "redis://:pw@redis:6379"] {
            assert_eq!(host_and_port(none), None, "{none}");
        }
    }

    #[test]
    fn tls_that_trusts_anybody_takes_a_flag_and_not_only_a_url() {
        let mut server = RedisServer::new("rediss://redis:6379/#insecure");
        assert!(matches!(server.info(), Err(RedisFault::InsecureUrl)));
        server.tls.insecure = true;
        assert!(matches!(server.info().unwrap().addr(), ConnectionAddr::TcpTls { insecure: true, .. }));
        let mut server = RedisServer::new("redis://redis:6379");
        server.tls.on = true;
        assert!(matches!(server.info().unwrap().addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
    }

    #[test]
    fn no_password_is_in_what_is_printed() {
        let mut server = RedisServer::new("redis://me:hunter2@redis:6379");
        server.login.password = Some(Secret::Given("hunter3".into()));
        assert!(!format!("{server:?}").contains("hunter"), "{server:?}");
    }
}
