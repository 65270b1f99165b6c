//! A Redis server that keeps everything in memory, and what people put around one: TLS, replicas, Sentinel, Cluster.
//!
//! With `LINKERD_MCP_RIG_VALKEY=1` it is Valkey: then `valkey-server` is started, which has to be where programs are found.
//!
//! To restart it under its clients, let them connect through [`crate::proxy`] and point that at the new one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};

use crate::certs::Leaf;
use crate::process::{self, Launch, Process};
use crate::wait;

/// A connection that waits for answers as long as a test does: on a busy machine one may take longer than the half second
/// that the client gives it.
///
/// # Errors
///
/// When there is no connection.
pub async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Redis.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    password: Option<String>,
}

/// How a Redis is started; the default is empty and open to everybody.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Of the user `default`.
    pub password: Option<String>,
    /// Listen with TLS, on [`Redis::tls_address`].
    pub tls: Option<ServerTls>,
    /// Follow this master, which has the same password.
    pub replica_of: Option<SocketAddr>,
    /// Be a node of a cluster; it has no slots yet.
    pub cluster: bool,
}

/// What a Redis needs for TLS.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Its own certificate.
    pub leaf: Leaf,
    /// PEM of the authority of clients.
    pub authority: String,
    /// Whether clients need a certificate.
    pub clients_need_one: bool,
}

/// A running Sentinel.
#[derive(Debug)]
pub struct Sentinel {
    process: Process,
    password: Option<String>,
}

/// How long a cluster may take to agree on itself.
const AGREED: Duration = Duration::from_secs(30);

// === impl Redis ===

impl Redis {
    /// Starts it on a free port; with a password, clients must give it.
    pub async fn start(password: Option<&str>) -> Result<Self, process::Error> {
        Self::start_with(&RedisOptions { password: password.map(String::from), ..RedisOptions::default() })
            .await
    }

    /// Starts it as the options say. It listens without TLS as well, for the tests to look into it.
    pub async fn start_with(options: &RedisOptions) -> Result<Self, process::Error> {
        let launch = Launch {
            program: program(),
            ports: 3,
            args: |dir: &Path, ports: &[u16]| arguments(dir, ports, options),
        };
        let password = options.password.as_deref();
        let process =
            process::start(launch, async |process| answers(&url(process, password)).await.is_ok()).await?;
        Ok(Self { process, password: password.map(String::from) })
    }

    /// Its address, with the password in it.
    pub fn url(&self) -> String {
        url(&self.process, self.password.as_deref())
    }

    /// Where it listens, for a proxy in front of it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.process.port(0)))
    }

    /// Where it listens with TLS, if it does.
    pub fn tls_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.process.port(1)))
    }

    /// A client; it connects when it is asked to.
    pub fn client(&self) -> Result<Client, RedisError> {
        Client::open(self.url())
    }

    /// Runs one command, its words separated by spaces, as the user `default`.
    pub async fn run<T: redis::FromRedisValue>(&self, command: &str) -> Result<T, RedisError> {
        let mut connection = connect(&self.client()?).await?;
        let mut cmd = redis::Cmd::new();
        for word in command.split(' ') {
            cmd.arg(word);
        }
        cmd.query_async(&mut connection).await
    }

    /// Gives all slots from `first` to `last` to this node of a cluster.
    pub async fn take_slots(&self, first: u16, last: u16) -> Result<(), RedisError> {
        self.run(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await
    }

    /// Makes this node of a cluster known to another one.
    pub async fn meet(&self, other: &Self) -> Result<(), RedisError> {
        let (port, bus) = (other.process.port(0), other.process.port(2));
        self.run(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")).await
    }

    /// Waits until this node knows that all slots have an owner, in a cluster of so many nodes.
    pub async fn until_agreed(&self, nodes: usize) -> Result<(), wait::Timeout> {
        wait::until("the cluster agrees on its slots", AGREED, async || {
            let info: String = self.run("CLUSTER INFO").await.ok()?;
            let size = format!("cluster_known_nodes:{nodes}\r");
            (info.contains("cluster_state:ok") && info.contains(&size)).then_some(())
        })
        .await
    }

    /// The process, to freeze or stop it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as a clean shutdown does.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

// === impl Sentinel ===

impl Sentinel {
    /// Starts one that watches `master` under the name `mesh` and takes it for dead after a second. `quorum` Sentinels
    /// have to agree. Its own `password` is another one than that of the master.
    pub async fn start(
        master: &Redis,
        quorum: usize,
        password: Option<&str>,
    ) -> Result<Self, process::Error> {
        let launch = Launch {
            program: program(),
            ports: 1,
            args: |dir: &Path, ports: &[u16]| {
                let file = dir.join("sentinel.conf");
                std::fs::write(&file, sentinel_conf(dir, ports[0], master, quorum, password))?;
                Ok(vec![file.display().to_string(), "--sentinel".to_owned()])
            },
        };
        let process =
            process::start(launch, async |process| answers(&url(process, password)).await.is_ok()).await?;
        Ok(Self { process, password: password.map(String::from) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.process.port(0)))
    }

    /// The process, to freeze or stop it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The port of the master as this Sentinel sees it.
    pub async fn master_port(&self) -> Result<u16, RedisError> {
        let client = Client::open(url(&self.process, self.password.as_deref()))?;
        let mut connection = connect(&client).await?;
        let (_, port): (String, u16) = redis::cmd("SENTINEL")
            .arg(&["get-master-addr-by-name", "mesh"])
            .query_async(&mut connection)
            .await?;
        Ok(port)
    }

    /// Waits until it knows so many replicas and so many other Sentinels; before that it cannot fail over.
    pub async fn until_it_knows(&self, replicas: usize, others: usize) -> Result<(), wait::Timeout> {
        wait::until("the Sentinel knows everybody", AGREED, async || {
            let client = Client::open(url(&self.process, self.password.as_deref())).ok()?;
            let mut connection = connect(&client).await.ok()?;
            let info: String = redis::cmd("INFO").arg("sentinel").query_async(&mut connection).await.ok()?;
            let wanted = "status=ok,address=";
            let counts = format!("slaves={replicas},sentinels={}", others + 1);
            (info.contains(wanted) && info.contains(&counts)).then_some(())
        })
        .await
    }
}

fn program() -> &'static str {
    if std::env::var_os("LINKERD_MCP_RIG_VALKEY").is_some() { "valkey-server" } else { "redis-server" }
}

fn sentinel_conf(dir: &Path, port: u16, master: &Redis, quorum: usize, password: Option<&str>) -> String {
    let mut conf = format!(
        "bind 127.0.0.1\nport {port}\ndir {}\n\
         sentinel monitor mesh 127.0.0.1 {} {quorum}\n\
         sentinel down-after-milliseconds mesh 1000\n\
         sentinel failover-timeout mesh 5000\n\
         sentinel parallel-syncs mesh 1\n",
        dir.display(),
        master.address().port()
    );
    if let Some(password) = &master.password {
        conf.push_str(&format!("sentinel auth-pass mesh {password}\n"));
    }
    if let Some(password) = password {
        conf.push_str(&format!("requirepass {password}\nsentinel sentinel-pass {password}\n"));
    }
    conf
}

fn arguments(dir: &Path, ports: &[u16], options: &RedisOptions) -> std::io::Result<Vec<String>> {
    let (port, folder) = (ports[0].to_string(), dir.display().to_string());
    let mut args: Vec<String> =
        ["--bind", "127.0.0.1", "--port", &port, "--dir", &folder, "--save", "", "--appendonly", "no"]
            .map(String::from)
            .to_vec();
    let mut add = |words: &[&str]| args.extend(words.iter().map(ToString::to_string));
    // A replica is served at once: the default waits five seconds for others.
    add(&["--repl-diskless-sync-delay", "0"]);
    if let Some(password) = &options.password {
        add(&["--requirepass", password, "--masterauth", password]);
    }
    if let Some(master) = options.replica_of {
        add(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    }
    if options.cluster {
        add(&["--cluster-enabled", "yes", "--cluster-port", &ports[2].to_string()]);
    }
    if let Some(tls) = &options.tls {
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).map(|()| path.display().to_string())
        };
        let (cert, key) = (file("cert.pem", &tls.leaf.cert)?, file("key.pem", &tls.leaf.key)?);
        let authority = file("ca.pem", &tls.authority)?;
        add(&["--tls-port", &ports[1].to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key]);
        add(&["--tls-ca-cert-file", &authority]);
        add(&["--tls-auth-clients", if tls.clients_need_one { "yes" } else { "no" }]);
    }
    Ok(args)
}

fn url(process: &Process, password: Option<&str>) -> String {
    let login = password.map(|password| format!(":{password}@")).unwrap_or_default();
    format!("redis://{login}127.0.0.1:{}", process.port(0))
}

async fn answers(url: &str) -> Result<(), RedisError> {
    let mut connection = connect(&Client::open(url)?).await?;
    redis::cmd("PING").exec_async(&mut connection).await
}
