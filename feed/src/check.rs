//! What is looked at whenever a connection is made, and what is counted of connections.
//!
//! Redis must not evict anything: under `allkeys-lru` and its like it would drop the leader's lease, the epoch or the
//! log when it runs full, and we would find out only by what breaks. With `noeviction` a full Redis refuses writes, which
//! is said in the log, and replicas go on with what they have.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use redis::{RedisError, Value, aio::MultiplexedConnection};
use std::collections::HashMap;

/// What Redis does when it runs full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// `noeviction`: it refuses writes, as it should.
    NoEviction,
    /// It drops keys, ours among them.
    Evicts {
        /// `maxmemory-policy`.
        policy: String,
        /// `maxmemory` in bytes; 0 is no limit, `None` is not known.
        limit: Option<u64>,
    },
    /// Neither CONFIG nor INFO may be asked, or they do not say.
    Unchecked {
        /// What Redis said.
        reason: String,
    },
}

/// What is counted of the connections of one process. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct RedisMetrics {
    connections: Counter,
    master_changes: Counter,
    missing_rights: Gauge,
    policy: Family<PolicyLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabels {
    policy: PolicyLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are what is exported")]
enum PolicyLabel {
    noeviction,
    evicts,
    unchecked,
}

// === impl MemoryPolicy ===

impl MemoryPolicy {
    /// Asks Redis, first with CONFIG, and then with INFO, which is often allowed where CONFIG is not.
    pub(crate) async fn ask(redis: &mut MultiplexedConnection) -> Result<Self, RedisError> {
        let answers: Vec<Result<Value, RedisError>> = redis::pipe()
            .cmd("CONFIG")
            .arg(&["GET", "maxmemory*"])
            .cmd("INFO")
            .arg("memory")
            .ignore_errors()
            .query_async(redis)
            .await?;
        let mut answers = answers.into_iter();
        let config =
            answers.next().and_then(|answer| answer.and_then(|v| Ok(redis::from_redis_value(v)?)).ok());
        let info = answers.next().map(|answer| match answer {
            Ok(value) => redis::from_redis_value::<String>(value).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        });
        Ok(Self::of(config, info.unwrap_or_else(|| Err("it did not answer".to_owned()))))
    }

    /// What the answer of `CONFIG GET maxmemory*` says, else that of `INFO memory`.
    fn of(config: Option<HashMap<String, String>>, info: Result<String, String>) -> Self {
        let settings = config.filter(|config| config.contains_key("maxmemory-policy")).map(Ok);
        let settings = settings.unwrap_or_else(|| {
            let info = info?;
            let lines = info.lines().filter_map(|line| line.split_once(':'));
            Ok(lines.map(|(name, value)| (name.replace('_', "-"), value.trim().to_owned())).collect())
        });
        let settings: HashMap<String, String> = match settings {
            Ok(settings) => settings,
            Err(reason) => return Self::Unchecked { reason },
        };
        match settings.get("maxmemory-policy").map(String::as_str) {
            Some("noeviction") => Self::NoEviction,
            Some(policy) => Self::Evicts {
                policy: policy.to_owned(),
                limit: settings.get("maxmemory").and_then(|bytes| bytes.parse().ok()),
            },
            None => Self::Unchecked { reason: "neither CONFIG nor INFO tells it".to_owned() },
        }
    }

    /// Says it in the log: a warning unless it is as it should be.
    pub(crate) fn log(&self, address: &str) {
        match self {
            Self::NoEviction => tracing::debug!(%address, "Redis evicts nothing, as the feed needs it"),
            Self::Evicts { policy, limit } => tracing::warn!(
                %address,
                %policy,
                maxmemory = limit,
                "Redis may evict the feed's keys when its memory is full: set maxmemory-policy to noeviction, \
                 or give the feed a Redis of its own"
            ),
            Self::Unchecked { reason } => tracing::warn!(
                %address,
                %reason,
                "whether Redis evicts keys could not be checked: see to it that maxmemory-policy is noeviction, \
                 or allow our user +config|get or +info"
            ),
        }
    }

    fn label(&self) -> PolicyLabel {
        match self {
            Self::NoEviction => PolicyLabel::noeviction,
            Self::Evicts { .. } => PolicyLabel::evicts,
            Self::Unchecked { .. } => PolicyLabel::unchecked,
        }
    }
}

// === impl RedisMetrics ===

impl RedisMetrics {
    /// Adds all of them to `registry`, which has no prefix of its own.
    pub fn register(&self, registry: &mut Registry) {
        let redis = registry.sub_registry_with_prefix("mcp_redis");
        redis.register("connections", "Connections made to Redis", self.connections.clone());
        redis.register(
            "master_changes",
            "Times that Sentinel or Cluster named another master",
            self.master_changes.clone(),
        );
        redis.register(
            "missing_rights",
            "Rules that the ACL of our user lacks, as of the last connection",
            self.missing_rights.clone(),
        );
        redis.register(
            "memory_policy",
            "1 for what Redis does when its memory is full, as of the last connection",
            self.policy.clone(),
        );
    }

    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    pub(crate) fn moved(&self) {
        self.master_changes.inc();
    }

    pub(crate) fn lacks(&self, rules: usize) {
        self.missing_rights.set(i64::try_from(rules).unwrap_or(i64::MAX));
    }

    pub(crate) fn found(&self, policy: &MemoryPolicy) {
        for label in [PolicyLabel::noeviction, PolicyLabel::evicts, PolicyLabel::unchecked] {
            let present = i64::from(policy.label() == label);
            self.policy.get_or_create(&PolicyLabels { policy: label }).set(present);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Option<HashMap<String, String>> {
        Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn config_is_believed_and_where_it_says_nothing_info_is() {
        let refused = || Err("NOPERM".to_owned());
        let evicts = |limit| MemoryPolicy::Evicts { policy: "allkeys-lru".to_owned(), limit };
        assert_eq!(
            MemoryPolicy::of(config(&[("maxmemory-policy", "noeviction")]), refused()),
            MemoryPolicy::NoEviction
        );
        assert_eq!(
            MemoryPolicy::of(config(&[("maxmemory-policy", "allkeys-lru"), ("maxmemory", "0")]), refused()),
            evicts(Some(0))
        );
        // Services that run Redis for others refuse CONFIG, or answer with nothing.
        let info = "# Memory\r\nused_memory:1\r\nmaxmemory:64\r\nmaxmemory_policy:allkeys-lru\r\n".to_owned();
        for silent in [None, config(&[])] {
            assert_eq!(MemoryPolicy::of(silent, Ok(info.clone())), evicts(Some(64)));
        }
        assert_eq!(
            MemoryPolicy::of(None, refused()),
            MemoryPolicy::Unchecked { reason: "NOPERM".to_owned() }
        );
        assert!(matches!(
            MemoryPolicy::of(None, Ok("used_memory:1".to_owned())),
            MemoryPolicy::Unchecked { .. }
        ));
    }
}
