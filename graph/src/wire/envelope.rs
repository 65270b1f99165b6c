//! What is published for every change: the position, the time, the JSON Patch and checksums.
//!
//! ```json
//! {"epoch":1,"seq":7,"as_of":1735689600000,"head":"5f0c6e1e2b0d9a41","sum":"af63bd4c8601b7df","patch":[…]}
//! ```
//!
//! `sum` is FNV-1a over the text of the patch. `head` is FNV-1a over epoch, seq, as_of and sum, each as eight bytes,
//! least first: the seq of a change says what it is applied to, so one flipped bit in it would make a wrong graph. An
//! envelope without `head` is accepted: controllers that do not write it yet may run beside newer replicas.
//!
//! A heartbeat is the same with `null` for the patch: it takes no seq of its own but tells the leader's.

use super::fnv1a;
use crate::feed::Position;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An envelope that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Where the leader is; for a change, after it.
    pub position: Position,
    /// When it was published, in milliseconds since the Unix epoch.
    pub as_of_ms: i64,
    /// The text of the JSON Patch; `None` for a heartbeat.
    pub patch: Option<&'a str>,
}

/// Bytes that are not an envelope, or a broken one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON of an envelope.
    #[error("not an envelope of the feed")]
    Json(#[source] serde_json::Error),
    /// The patch is not the one that was written.
    #[error("the checksum of the patch is {found:016x} and should be `{wanted}`")]
    Sum {
        /// Of the text that came.
        found: u64,
        /// As the envelope says.
        wanted: String,
    },
    /// The position or the time is not the one that was written.
    #[error("the checksum of the position is {found:016x} and should be `{wanted}`")]
    Head {
        /// Of the position and the time that came.
        found: u64,
        /// As the envelope says.
        wanted: String,
    },
}

/// An envelope around the text of a patch, or a heartbeat.
pub fn encode(position: Position, as_of_ms: i64, patch: Option<&str>) -> String {
    let patch = patch.unwrap_or("null");
    let Position { epoch, seq } = position;
    let sum = fnv1a(patch.as_bytes());
    let head = head(position, as_of_ms, sum);
    format!(
        r#"{{"epoch":{epoch},"seq":{seq},"as_of":{as_of_ms},"head":"{head:016x}","sum":"{sum:016x}","patch":{patch}}}"#
    )
}

fn head(position: Position, as_of_ms: i64, sum: u64) -> u64 {
    let parts =
        [position.epoch.to_le_bytes(), position.seq.to_le_bytes(), as_of_ms.to_le_bytes(), sum.to_le_bytes()];
    fnv1a(parts.as_flattened())
}

/// Reads an envelope and checks its sums.
///
/// # Errors
///
/// When it is not one or a sum does not fit.
pub fn decode(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let Raw { epoch, seq, as_of, head: wanted, sum, patch } =
        serde_json::from_slice(bytes).map_err(Error::Json)?;
    let patch = patch.get();
    let found = fnv1a(patch.as_bytes());
    if u64::from_str_radix(&sum, 16) != Ok(found) {
        return Err(Error::Sum { found, wanted: sum.chars().take(32).collect() });
    }
    let position = Position { epoch, seq };
    let checked = head(position, as_of, found);
    if let Some(wanted) = wanted
        && u64::from_str_radix(&wanted, 16) != Ok(checked)
    {
        return Err(Error::Head { found: checked, wanted: wanted.chars().take(32).collect() });
    }
    Ok(Envelope { position, as_of_ms: as_of, patch: (patch != "null").then_some(patch) })
}

#[derive(Deserialize)]
struct Raw<'a> {
    epoch: u64,
    seq: u64,
    as_of: i64,
    #[serde(borrow, default)]
    head: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sum: Cow<'a, str>,
    #[serde(borrow)]
    patch: &'a RawValue,
}
