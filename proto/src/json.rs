//! How messages look as JSON, where the generated code asks. Names are those of the .proto files; enums are words in
//! lower case; what is unknown is absent.

use crate::v1;
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::{Value, json, value::RawValue};

/// `allow`, `deny`, `audit` or `unmatched_route`.
pub fn decision<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    word::<v1::Decision>(*value, v1::Decision::as_str_name, "DECISION_").serialize(serializer)
}

/// `info`, `warning` or `error`.
pub fn severity<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    word::<v1::Severity>(*value, v1::Severity::as_str_name, "SEVERITY_").serialize(serializer)
}

fn word<E: TryFrom<i32> + Default>(value: i32, name: fn(&E) -> &'static str, prefix: &str) -> String {
    let value = E::try_from(value).unwrap_or_default();
    name(&value).trim_start_matches(prefix).to_lowercase()
}

/// Text that is JSON already. One that is not is an error, never passed on.
pub fn raw<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let raw: &RawValue = serde_json::from_str(text).map_err(S::Error::custom)?;
    raw.serialize(serializer)
}

/// A moment, as RFC 3339.
pub fn timestamp<S: Serializer>(
    value: &Option<prost_types::Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

/// The signals of freshness of an answer.
pub fn freshness<S: Serializer>(value: &Option<v1::Freshness>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(freshness_of).serialize(serializer)
}

/// The signals of freshness, times as RFC 3339.
pub fn freshness_of(it: &v1::Freshness) -> Value {
    let mut value = json!({});
    if let Some(as_of) = &it.as_of {
        value["as_of"] = as_of.to_string().into();
    }
    if let Some(metrics) = &it.metrics {
        value["metrics"] = metrics_of(metrics);
    }
    if let Some(topology) = &it.topology {
        let kinds = topology.not_synced.iter();
        let kinds = kinds.map(|it| json!({"kind": it.kind, "state": it.state, "detail": it.detail}));
        value["topology"] = json!({"synced": topology.synced, "not_synced": kinds.collect::<Vec<_>>()});
    }
    if let Some(feed) = &it.feed {
        let position = feed.position.unwrap_or_default();
        value["feed"] = json!({
            "age_ms": feed.age_ms,
            "epoch": position.epoch,
            "seq": position.seq,
            "connected": feed.connected,
        });
    }
    if !it.limited_to.is_empty() {
        value["limited_to"] = it.limited_to.clone().into();
    }
    value
}

fn metrics_of(it: &v1::MetricsFreshness) -> Value {
    let mut value = json!({"stale": it.stale, "window_seconds": it.window_seconds});
    for (name, text) in [("reason", &it.reason), ("window_reason", &it.window_reason)] {
        if !text.is_empty() {
            value[name] = text.as_str().into();
        }
    }
    if let Some(as_of) = &it.as_of {
        value["as_of"] = as_of.to_string().into();
    }
    if it.unscraped_count > 0 {
        value["unscraped"] = json!({"count": it.unscraped_count, "some": it.unscraped});
    }
    value
}
