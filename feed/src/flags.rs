//! The flags of Redis, the same for the controller and the API.

use crate::{
    End, Login, Place, Redacted, RedisMetrics, RedisServer, Rights, Secret, Sentinels, Tls,
    server::host_and_port,
};
use clap::Args;
use linkerd_mcp_graph::wire::Names;
use std::path::PathBuf;

/// How to reach Redis or Valkey.
///
/// Passwords have no flag of their own, because anybody on the machine can read a command line: they are in files, in
/// the environment, or in the URL.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Redis or Valkey, as in redis://host:6379, or rediss:// for TLS; a password is better in a file
    #[arg(
        long,
        env = "LINKERD_MCP_REDIS_URL",
        hide_env_values = true,
        value_name = "URL",
        required_unless_present = "redis_sentinel",
        conflicts_with = "redis_sentinel"
    )]
    pub redis_url: Option<Redacted>,

    /// ACL user [default: the one in the URL, else `default`]
    #[arg(long, env = "LINKERD_MCP_REDIS_USER", value_name = "USER")]
    pub redis_user: Option<String>,

    /// File with the password, read at every connection; or set LINKERD_MCP_REDIS_PASSWORD
    #[arg(long, env = "LINKERD_MCP_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// Speak TLS where the URL does not say so, and to Sentinels
    #[arg(long, env = "LINKERD_MCP_REDIS_TLS")]
    pub redis_tls: bool,

    /// PEM file with the CA of Redis' certificate, instead of the system's
    #[arg(long, env = "LINKERD_MCP_REDIS_CA_FILE", value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,

    /// PEM file with our certificate, for a Redis that wants one
    #[arg(
        long,
        env = "LINKERD_MCP_REDIS_CERT_FILE",
        value_name = "FILE",
        requires = "redis_key_file",
        conflicts_with = "redis_tls_insecure"
    )]
    pub redis_cert_file: Option<PathBuf>,

    /// PEM file with the key of that certificate
    #[arg(long, env = "LINKERD_MCP_REDIS_KEY_FILE", value_name = "FILE", requires = "redis_cert_file")]
    pub redis_key_file: Option<PathBuf>,

    /// Take any certificate: whoever is between us and Redis can read and change everything
    #[arg(long, conflicts_with = "redis_ca_file")]
    pub redis_tls_insecure: bool,

    /// Sentinels to ask for the master, instead of a URL; may be repeated
    #[arg(
        long,
        env = "LINKERD_MCP_REDIS_SENTINEL",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        requires = "redis_sentinel_master"
    )]
    pub redis_sentinel: Vec<String>,

    /// The name that the Sentinels have for the master
    #[arg(long, env = "LINKERD_MCP_REDIS_SENTINEL_MASTER", value_name = "NAME", requires = "redis_sentinel")]
    pub redis_sentinel_master: Option<String>,

    /// ACL user of the Sentinels
    #[arg(long, env = "LINKERD_MCP_REDIS_SENTINEL_USER", value_name = "USER", requires = "redis_sentinel")]
    pub redis_sentinel_user: Option<String>,

    /// File with the password of the Sentinels; or set LINKERD_MCP_REDIS_SENTINEL_PASSWORD
    #[arg(
        long,
        env = "LINKERD_MCP_REDIS_SENTINEL_PASSWORD_FILE",
        value_name = "FILE",
        requires = "redis_sentinel"
    )]
    pub redis_sentinel_password_file: Option<PathBuf>,

    /// Redis is a cluster: keep all keys in one slot, and follow the node that has it
    #[arg(long, env = "LINKERD_MCP_REDIS_CLUSTER", conflicts_with = "redis_sentinel")]
    pub redis_cluster: bool,

    /// What stands before every key and channel, the same for the controller and the API
    /// [default: nothing; with --redis-cluster {linkerd-mcp}:]
    #[arg(long, env = "LINKERD_MCP_REDIS_PREFIX", value_name = "PREFIX")]
    pub redis_prefix: Option<String>,
}

/// Flags that do not fit together, or name what is not there.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// A prefix without a hash tag would spread our keys over a cluster.
    #[error(
        "with --redis-cluster the prefix needs a hash tag, a part in braces, such as --redis-prefix '{{east}}:'; `{prefix}` has none"
    )]
    NoHashTag {
        /// The prefix.
        prefix: String,
    },
    /// Neither a URL nor Sentinels.
    #[error("no Redis: give --redis-url, or --redis-sentinel and --redis-sentinel-master")]
    Nowhere,
    /// More Sentinels than anybody runs.
    #[error("{0} Sentinels are too many; name at most {MOST_SENTINELS}")]
    TooManySentinels(usize),
    /// The address of a Sentinel.
    #[error("--redis-sentinel takes host:port, as in redis-sentinel.redis:26379")]
    SentinelAddress,
    /// A file that a flag names cannot be read.
    #[error("cannot read the file {} that {flag} names", path.display())]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

const MOST_SENTINELS: usize = 15;
/// Stands before all keys in a cluster: the part in braces alone decides on the slot.
const CLUSTER_PREFIX: &str = "{linkerd-mcp}:";
const PASSWORD: &str = "LINKERD_MCP_REDIS_PASSWORD";
const SENTINEL_PASSWORD: &str = "LINKERD_MCP_REDIS_SENTINEL_PASSWORD";

// === impl RedisArgs ===

impl RedisArgs {
    /// What stands before all keys and channels.
    ///
    /// # Errors
    ///
    /// In a cluster, when it has no hash tag.
    pub fn prefix(&self) -> Result<String, FlagError> {
        match (&self.redis_prefix, self.redis_cluster) {
            (Some(prefix), true) if !has_hash_tag(prefix) => {
                Err(FlagError::NoHashTag { prefix: prefix.clone() })
            }
            (Some(prefix), _) => Ok(prefix.clone()),
            (None, true) => Ok(CLUSTER_PREFIX.to_owned()),
            (None, false) => Ok(String::new()),
        }
    }

    /// The server that the flags and the environment name, for this end of the feed.
    ///
    /// # Errors
    ///
    /// When the flags do not fit together, or a file that they name cannot be opened.
    pub fn server(&self, end: End, metrics: RedisMetrics) -> Result<RedisServer, FlagError> {
        self.server_with(end, metrics, |name| std::env::var(name).ok())
    }

    fn server_with(
        &self,
        end: End,
        metrics: RedisMetrics,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<RedisServer, FlagError> {
        self.readable()?;
        let names = Names::new(&self.prefix()?);
        let password = |file: &Option<PathBuf>, name: &str| match file {
            Some(path) => Some(Secret::File(path.clone())),
            None => env(name).filter(|password| !password.is_empty()).map(|text| Secret::Given(text.into())),
        };
        let login =
            Login { user: self.redis_user.clone(), password: password(&self.redis_password_file, PASSWORD) };
        let user = login.user.clone().unwrap_or_else(|| "default".to_owned());
        let place = match (&self.redis_url, &self.redis_sentinel_master) {
            (Some(url), _) if self.redis_cluster => {
                Place::Cluster { url: url.clone(), key: names.leader.clone() }
            }
            (Some(url), _) => Place::Url(url.clone()),
            (None, Some(master)) => {
                let addresses = self.redis_sentinel.clone();
                if addresses.len() > MOST_SENTINELS {
                    return Err(FlagError::TooManySentinels(addresses.len()));
                }
                // Not repeated: somebody may have written a URL with a password.
                if addresses.iter().any(|address| host_and_port(address).is_none()) {
                    return Err(FlagError::SentinelAddress);
                }
                let login = Login {
                    user: self.redis_sentinel_user.clone(),
                    password: password(&self.redis_sentinel_password_file, SENTINEL_PASSWORD),
                };
                Place::Sentinels(Sentinels { addresses, master: master.clone(), login })
            }
            (None, None) => return Err(FlagError::Nowhere),
        };
        let tls = Tls {
            on: self.redis_tls,
            ca_file: self.redis_ca_file.clone(),
            cert_file: self.redis_cert_file.clone(),
            key_file: self.redis_key_file.clone(),
            insecure: self.redis_tls_insecure,
        };
        if tls.insecure {
            tracing::warn!("the certificate of Redis is not verified (--redis-tls-insecure)");
        }
        let rights = Some(Rights::new(end, names, user));
        Ok(RedisServer { login, tls, rights, metrics, ..RedisServer::at(place) })
    }

    /// Finds a mistyped file at the start, not at the first connection.
    fn readable(&self) -> Result<(), FlagError> {
        let files = [
            ("--redis-password-file", &self.redis_password_file),
            ("--redis-ca-file", &self.redis_ca_file),
            ("--redis-cert-file", &self.redis_cert_file),
            ("--redis-key-file", &self.redis_key_file),
            ("--redis-sentinel-password-file", &self.redis_sentinel_password_file),
        ];
        for (flag, path) in files {
            let Some(path) = path else { continue };
            std::fs::File::open(path).map_err(|source| FlagError::File {
                flag,
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// True when Redis takes a part of `prefix` for the whole key when it chooses the slot: the part between the first `{`
/// and the next `}`, if there is something.
fn has_hash_tag(prefix: &str) -> bool {
    prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        redis: RedisArgs,
    }

    fn parsed(args: &[&str]) -> RedisArgs {
        Program::try_parse_from([&["program"], args].concat()).unwrap().redis
    }

    fn server(args: &[&str]) -> Result<RedisServer, FlagError> {
        let env = |name: &str| (name == PASSWORD).then(|| "hunter2".to_owned());
        parsed(args).server_with(End::Reads, RedisMetrics::default(), env)
    }

    #[test]
    fn the_flags_are_consistent() {
        Program::command().debug_assert();
    }

    #[test]
    fn in_a_cluster_all_keys_have_one_hash_tag() {
        let url = "--redis-url=redis://redis:6379";
        assert_eq!(parsed(&[url]).prefix().unwrap(), "");
        assert_eq!(parsed(&[url, "--redis-prefix=east:"]).prefix().unwrap(), "east:");
        assert_eq!(parsed(&[url, "--redis-cluster"]).prefix().unwrap(), "{linkerd-mcp}:");
        assert_eq!(parsed(&[url, "--redis-cluster", "--redis-prefix=a{b}"]).prefix().unwrap(), "a{b}");
        for none in ["east:", "{}:", "{east"] {
            let prefix = format!("--redis-prefix={none}");
            let error = parsed(&[url, "--redis-cluster", &prefix]).prefix().unwrap_err();
            assert!(error.to_string().contains("needs a hash tag"), "{error}");
        }
    }

    #[test]
    fn a_redis_is_named_by_a_url_or_by_sentinels() {
        let server = server(&[
            "--redis-sentinel=a:1,b:2",
            "--redis-sentinel=c:3",
            "--redis-sentinel-master=mesh",
            "--redis-user=mcp",
        ])
        .unwrap();
        let password = Some(Secret::Given("hunter2".into()));
        assert_eq!(server.login, Login { user: Some("mcp".to_owned()), password });
        let addresses = ["a:1", "b:2", "c:3"].map(str::to_owned).to_vec();
        let sentinels = Sentinels { addresses, master: "mesh".to_owned(), login: Login::default() };
        assert_eq!(server.place, Place::Sentinels(sentinels));
        for wrong in [
            &[][..],
            &["--redis-sentinel=a:1"],
            &["--redis-sentinel-master=mesh"],
            &["--redis-url=redis://a:1", "--redis-sentinel=a:1", "--redis-sentinel-master=mesh"],
            &["--redis-url=rediss://a:1", "--redis-cert-file=cert.pem"],
            &["--redis-url=rediss://a:1", "--redis-ca-file=ca.pem", "--redis-tls-insecure"],
        ] {
            assert!(Program::try_parse_from([&["program"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_password() {
        let error =
            server(&["--redis-sentinel=redis://:hunter3@a:1", "--redis-sentinel-master=mesh"]).unwrap_err();
        assert_eq!(error.to_string(), "--redis-sentinel takes host:port, as in redis-sentinel.redis:26379");
        let error =
            server(&["--redis-url=redis://:hunter3@a:1", "--redis-password-file=/nowhere"]).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the file /nowhere that --redis-password-file names");
        let args = parsed(&["--redis-url=redis://:hunter3@a:1"]);
        assert!(!format!("{args:?}").contains("hunter"), "{args:?}");
    }
}
