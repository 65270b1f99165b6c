//! Asking Sentinels where the master is.
//!
//! All are asked at once, because one that hangs must not cost the time of the others. What most of them say is tried
//! first: one that was cut off may still name the old master. Whoever is named has to say itself that it is a master.

use crate::{
    RedisFault,
    fault::During,
    server::{RedisServer, Sentinels, host_and_port},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use redis::{ConnectionAddr, IntoConnectionInfo as _, Value};
use std::sync::Arc;

/// Addresses that Sentinels named, the one that most of them named first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Votes(Vec<((String, u16), usize)>);

/// Where the Sentinels say that the master is, best first; never empty.
pub(crate) async fn masters(
    server: &RedisServer,
    sentinels: &Sentinels,
) -> Result<Vec<(String, u16)>, RedisFault> {
    let mut asked: FuturesUnordered<_> =
        sentinels.addresses.iter().map(|address| ask(server, sentinels, address)).collect();
    let (mut votes, mut reasons) = (Votes::default(), Vec::new());
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(master) => {
                if votes.count(master) * 2 > sentinels.addresses.len() {
                    break;
                }
            }
            Err(reason) => reasons.push(reason),
        }
    }
    if votes.0.is_empty() {
        return Err(sentinels.fault(reasons.join("; ")));
    }
    Ok(votes.0.into_iter().map(|(address, _)| address).collect())
}

/// What one Sentinel says, or why it says nothing.
async fn ask(server: &RedisServer, sentinels: &Sentinels, address: &str) -> Result<(String, u16), String> {
    let (host, port) =
        host_and_port(address).ok_or_else(|| format!("`{address}` is no address; write host:port"))?;
    // Half of the time to connect: the other half is for the master.
    let limit = server.connect_timeout / 2;
    let asking = async {
        let info = server
            .address(host, port)
            .into_connection_info()
            .map_err(|error| RedisFault::Url(Arc::new(error)))?;
        let client = server.client(info, &sentinels.login).await?;
        let said = async {
            let mut sentinel = client.get_multiplexed_async_connection().await?;
            redis::cmd("SENTINEL")
                .arg("get-master-addr-by-name")
                .arg(&sentinels.master)
                .query_async::<Option<(String, u16)>>(&mut sentinel)
                .await
        };
        said.await.map_err(|error| {
            RedisFault::of(error, address, limit, During::Dialing { tls: server.tls.on }, None)
        })
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(Ok(Some(master))) => Ok(master),
        Ok(Ok(None)) => Err(format!("{address} does not know that name, check --redis-sentinel-master")),
        Ok(Err(RedisFault::Login { .. })) => Err(format!(
            "{address} refuses our login, check --redis-sentinel-user and --redis-sentinel-password-file"
        )),
        Ok(Err(RedisFault::Permission { .. })) => Err(format!(
            "{address} does not permit SENTINEL, add `+sentinel|get-master-addr-by-name` to the ACL"
        )),
        Ok(Err(RedisFault::Tls { advice, .. })) => Err(format!("{address} has no TLS with us: {advice}")),
        Ok(Err(RedisFault::Command { source, .. })) => Err(format!("{address} is no Sentinel ({source})")),
        Ok(Err(RedisFault::Unreachable { source, .. } | RedisFault::HungUp { source, .. })) => {
            Err(format!("{address} cannot be reached ({source})"))
        }
        Ok(Err(fault)) => Err(format!("{address}: {fault}")),
        Err(_) => Err(format!("{address} did not answer within {limit:?}")),
    }
}

/// True when the server at the other end says that it is a master, or when it may not be asked.
pub(crate) async fn is_master(client: &redis::Client) -> Result<bool, redis::RedisError> {
    let mut redis = client.get_multiplexed_async_connection().await?;
    match redis::cmd("ROLE").query_async::<Vec<Value>>(&mut redis).await {
        Ok(role) => Ok(role.first().is_some_and(|role| match role {
            Value::BulkString(text) => text == b"master",
            Value::SimpleString(text) => text == "master",
            _ => false,
        })),
        Err(error) if error.code() == Some("NOPERM") => Ok(true),
        Err(error) => Err(error),
    }
}

/// `host:port` for people, brackets around IPv6.
pub(crate) fn written(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } if host.contains(':') => {
            format!("[{host}]:{port}")
        }
        other => other.to_string(),
    }
}

// === impl Votes ===

impl Votes {
    /// Counts one and says how many there are now for the same.
    fn count(&mut self, address: (String, u16)) -> usize {
        let votes = match self.0.iter_mut().find(|(known, _)| *known == address) {
            Some((_, votes)) => {
                *votes += 1;
                *votes
            }
            None => {
                self.0.push((address, 1));
                1
            }
        };
        // Stable: among equals, who answered first.
        self.0.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
        votes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_sentinels_say_comes_first() {
        let mut votes = Votes::default();
        assert_eq!(votes.count(("old".to_owned(), 1)), 1);
        assert_eq!(votes.count(("new".to_owned(), 1)), 1);
        assert_eq!(votes.count(("new".to_owned(), 1)), 2);
        assert_eq!(votes, Votes(vec![(("new".to_owned(), 1), 2), (("old".to_owned(), 1), 1)]));
    }
}
