//! What each end of the feed must be allowed to do, and how to find out what it may not.
//!
//! Redis names the command it refuses, but not when a script runs it. So every command is tried once at the start, with
//! our keys and channels, between MULTI and DISCARD: Redis checks rights when a command is queued, and runs none of
//! them.

use linkerd_mcp_graph::wire::Names;
use redis::{Cmd, Pipeline, RedisError, Value, aio::MultiplexedConnection};

/// Which end of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The controller.
    Writes,
    /// The API that changes nothing.
    Reads,
    /// The API that changes policy: it reads the feed, and keeps plans and changes.
    Changes,
}

/// What an end of the feed must be allowed to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    end: End,
    names: Names,
    user: String,
}

/// What came out of trying.
pub(crate) struct Tried {
    /// The `ACL SETUSER` that adds what is missing; `None` when nothing is, or when it cannot be found out because MULTI
    /// is not allowed.
    pub(crate) missing: Option<String>,
    /// How many rules that are.
    pub(crate) count: usize,
    /// False when DISCARD was refused: the connection is still between MULTI and EXEC and must be dropped.
    pub(crate) clean: bool,
}

/// One command with what it is about.
struct Probe {
    /// As in an ACL: `script|load`.
    command: &'static str,
    /// The keys of it, as patterns of an ACL.
    keys: Vec<String>,
    /// The channel of it.
    channel: Option<String>,
    sent: Cmd,
}

// === impl Rights ===

impl Rights {
    /// What `end` needs with these names of keys and channels, as the ACL user `user`.
    pub fn new(end: End, names: Names, user: impl Into<String>) -> Self {
        Self { end, names, user: user.into() }
    }

    /// The rules that `ACL SETUSER` takes, and no more than needed. Redis 7 and Valkey have all of them.
    pub fn rule(&self) -> String {
        let Names { leader, epoch, snapshot, delta, deltas, metrics, resync, .. } = &self.names;
        let Names { plan, changes, change, guards, guard, .. } = &self.names;
        match self.end {
            End::Writes => format!(
                "resetkeys ~{leader} ~{epoch} ~{snapshot} ~{metrics} ~{deltas} \
                 resetchannels &{delta} &{metrics} &{resync} \
                 -@all +get +set +del +pexpire +pttl +time +xadd +xrevrange +publish +subscribe +ping \
                 +evalsha +script|load +multi +discard +config|get +info"
            ),
            End::Reads => format!(
                "resetkeys %R~{epoch} %R~{snapshot} %R~{metrics} %R~{deltas} \
                 resetchannels &{delta} &{metrics} &{resync} \
                 -@all +get +mget +xrange +publish +subscribe +multi +discard +config|get +info"
            ),
            End::Changes => format!(
                "resetkeys %R~{epoch} %R~{snapshot} %R~{metrics} %R~{deltas} \
                 ~{plan}* ~{changes} ~{change}* ~{guards} ~{guard}* \
                 resetchannels &{delta} &{metrics} &{resync} \
                 -@all +get +mget +xrange +publish +subscribe +multi +discard +config|get +info \
                 +set +getdel +del +pexpire +xadd +xrevrange +xdel +hset +hdel +hgetall"
            ),
        }
    }

    fn probes(&self) -> Vec<Probe> {
        let Names { leader, epoch, snapshot, delta, deltas, metrics, resync, .. } = &self.names;
        match self.end {
            End::Writes => vec![
                Probe::keyed("get", &[leader], &[]),
                Probe::keyed("get", &[epoch], &[]),
                Probe::keyed("set", &[leader], &["", "XX"]),
                Probe::keyed("set", &[epoch], &["", "XX"]),
                Probe::keyed("set", &[snapshot], &["", "XX"]),
                Probe::keyed("set", &[metrics], &["", "XX"]),
                Probe::keyed("del", &[leader], &[]),
                Probe::keyed("pexpire", &[leader], &["10000"]),
                Probe::keyed("pttl", &[leader], &[]),
                Probe::keyed("time", &[], &[]),
                Probe::keyed("xadd", &[deltas], &["NOMKSTREAM", "*", "envelope", ""]),
                Probe::keyed("xrevrange", &[deltas], &["+", "-", "COUNT", "1"]),
                Probe::keyed("ping", &[], &[]),
                Probe::keyed("evalsha", &[], &["0000000000000000000000000000000000000000", "0"]),
                Probe::keyed("script|load", &[], &["return 0"]),
                Probe::published(delta),
                Probe::published(metrics),
            ],
            End::Reads => vec![
                Probe::keyed("get", &[epoch], &[]),
                Probe::keyed("mget", &[snapshot, metrics], &[]),
                Probe::keyed("xrange", &[deltas], &["-", "+", "COUNT", "1"]),
                Probe::published(resync),
            ],
            End::Changes => self.changing(),
        }
    }

    /// Of [`End::Changes`]: what reading needs, and what keeping plans and changes needs.
    fn changing(&self) -> Vec<Probe> {
        let Names { plan, changes, change, guards, guard, .. } = &self.names;
        let mut probes = Self { end: End::Reads, ..self.clone() }.probes();
        let (plan, change, guard) = (format!("{plan}*"), format!("{change}*"), format!("{guard}*"));
        probes.extend([
            Probe::keyed("set", &[&plan], &["", "XX"]),
            Probe::keyed("getdel", &[&plan], &[]),
            Probe::keyed("set", &[&change], &["", "XX"]),
            Probe::keyed("del", &[&change], &[]),
            Probe::keyed("set", &[&guard], &["", "XX"]),
            Probe::keyed("pexpire", &[&guard], &["10000"]),
            Probe::keyed("xadd", &[changes], &["NOMKSTREAM", "*", "id", ""]),
            Probe::keyed("xrevrange", &[changes], &["+", "-", "COUNT", "1"]),
            Probe::keyed("xdel", &[changes], &["0-1"]),
            Probe::keyed("hset", &[guards], &["", ""]),
            Probe::keyed("hdel", &[guards], &[""]),
            Probe::keyed("hgetall", &[guards], &[]),
        ]);
        probes
    }

    /// Tries what we need on a connection that nobody else uses.
    pub(crate) async fn tried(&self, redis: &mut MultiplexedConnection) -> Result<Tried, RedisError> {
        let probes = self.probes();
        // First MULTI alone: if it is refused, nothing of the rest may be sent, because it would be run.
        match redis::cmd("MULTI").query_async::<Value>(redis).await {
            Ok(answer) if matches!(&answer, Value::Okay) => {}
            Err(error) if error.is_unrecoverable_error() => return Err(error),
            _ => return Ok(Tried { missing: None, count: 0, clean: true }),
        }
        let mut pipeline = Pipeline::new();
        for probe in &probes {
            pipeline.add_command(probe.sent.clone());
        }
        pipeline.cmd("DISCARD");
        let answers: Vec<Result<Value, RedisError>> = pipeline.ignore_errors().query_async(redis).await?;
        let refused = probes.iter().zip(&answers).filter_map(|(probe, answer)| {
            let error = answer.as_ref().err()?;
            (error.code() == Some("NOPERM")).then(|| probe.rule(&error.to_string()))
        });
        let mut rules: Vec<String> = refused.flatten().collect();
        let clean = matches!(answers.last(), Some(Ok(Value::Okay)));
        if !clean {
            rules.push("+discard".to_owned());
        }
        rules.sort();
        rules.dedup();
        let missing = (!rules.is_empty()).then(|| format!("ACL SETUSER {} {}", self.user, rules.join(" ")));
        Ok(Tried { missing, count: rules.len(), clean })
    }
}

// === impl Probe ===

impl Probe {
    fn keyed(command: &'static str, keys: &[&String], args: &[&str]) -> Self {
        let mut sent = Cmd::new();
        for part in command.split('|') {
            sent.arg(part);
        }
        sent.arg(keys).arg(args);
        Self { command, keys: keys.iter().map(|key| format!("~{key}")).collect(), channel: None, sent }
    }

    fn published(channel: &str) -> Self {
        let mut sent = Cmd::new();
        sent.arg("publish").arg(channel).arg("");
        Self { command: "publish", keys: Vec::new(), channel: Some(format!("&{channel}")), sent }
    }

    /// The rules that allow it, as far as `refusal` is about them.
    fn rule(&self, refusal: &str) -> Vec<String> {
        match Refusal::of(refusal) {
            Refusal::Keys => self.keys.clone(),
            Refusal::Channels => self.channel.iter().cloned().collect(),
            Refusal::Command(_) => vec![format!("+{}", self.command)],
        }
    }
}

/// What a refusal is about.
enum Refusal<'a> {
    Command(Option<&'a str>),
    Keys,
    Channels,
}

impl<'a> Refusal<'a> {
    /// Redis 6, 7.0, 7.2 and Valkey word it differently.
    fn of(text: &'a str) -> Self {
        if let Some((_, rest)) = text.split_once("run the '") {
            Self::Command(rest.split_once('\'').map(|(command, _)| command))
        } else if text.contains("channel") {
            Self::Channels
        } else if text.contains("key") {
            Self::Keys
        } else {
            Self::Command(None)
        }
    }
}

/// True for the refusal of what a script of ours does. It comes as a plain error.
pub(crate) fn refused_in_script(text: &str) -> bool {
    text.contains("The user executing the script can't") || text.contains("ACL failure in script")
}

/// What to do about the refusal `text`. What the check found (`missing`) is more than one refusal tells.
pub(crate) fn advice(text: &str, missing: Option<String>) -> String {
    if let Some(missing) = missing {
        return format!("add it with `{missing}`");
    }
    match Refusal::of(text) {
        Refusal::Command(Some(command)) => {
            format!(
                "the command {} is refused: add `+{command}` to the ACL of our user",
                command.to_uppercase()
            )
        }
        Refusal::Keys => "our keys are refused: docs/redis.md has the whole ACL rule".to_owned(),
        Refusal::Channels => "our channels are refused: docs/redis.md has the whole ACL rule".to_owned(),
        Refusal::Command(None) => "docs/redis.md has the whole ACL rule".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_all_versions_name_what_to_add() {
        for (said, advice_given) in [
            (
                "NOPERM this user has no permissions to run the 'xadd' command or its subcommand",
                "the command XADD is refused: add `+xadd` to the ACL of our user",
            ),
            (
                "NOPERM User mcp has no permissions to run the 'script|load' command",
                "the command SCRIPT|LOAD is refused: add `+script|load` to the ACL of our user",
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                "our keys are refused: docs/redis.md has the whole ACL rule",
            ),
            (
                "NOPERM No permissions to access a channel",
                "our channels are refused: docs/redis.md has the whole ACL rule",
            ),
            ("NOPERM", "docs/redis.md has the whole ACL rule"),
        ] {
            assert_eq!(advice(said, None), advice_given, "{said}");
        }
        assert_eq!(
            advice("NOPERM", Some("ACL SETUSER mcp +xadd".to_owned())),
            "add it with `ACL SETUSER mcp +xadd`"
        );
    }

    #[test]
    fn the_documentation_has_the_rules_as_they_are() {
        let page = include_str!("../../docs/redis.md").split_whitespace().collect::<Vec<_>>().join(" ");
        for end in [End::Writes, End::Reads, End::Changes] {
            let rule = Rights::new(end, Names::default(), "mcp").rule();
            let rule = rule.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(page.contains(&rule), "docs/redis.md does not have: {rule}");
        }
    }
}
