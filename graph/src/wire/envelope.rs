//! What is published for every change: the position, the time, the JSON Patch and a checksum of its text.
//!
//! ```json
//! {"epoch":1,"seq":7,"as_of":1735689600000,"sum":"af63bd4c8601b7df","patch":[…]}
//! ```
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
}

/// An envelope around the text of a patch, or a heartbeat.
pub fn encode(position: Position, as_of_ms: i64, patch: Option<&str>) -> String {
    let patch = patch.unwrap_or("null");
    let Position { epoch, seq } = position;
    let sum = fnv1a(patch.as_bytes());
    format!(r#"{{"epoch":{epoch},"seq":{seq},"as_of":{as_of_ms},"sum":"{sum:016x}","patch":{patch}}}"#)
}

/// Reads an envelope and checks its sum.
///
/// # Errors
///
/// When it is not one or the sum does not fit.
pub fn decode(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let Raw { epoch, seq, as_of, sum, patch } = serde_json::from_slice(bytes).map_err(Error::Json)?;
    let patch = patch.get();
    let found = fnv1a(patch.as_bytes());
    if u64::from_str_radix(&sum, 16) != Ok(found) {
        return Err(Error::Sum { found, wanted: sum.chars().take(32).collect() });
    }
    Ok(Envelope {
        position: Position { epoch, seq },
        as_of_ms: as_of,
        patch: (patch != "null").then_some(patch),
    })
}

#[derive(Deserialize)]
struct Raw<'a> {
    epoch: u64,
    seq: u64,
    as_of: i64,
    #[serde(borrow)]
    sum: Cow<'a, str>,
    #[serde(borrow)]
    patch: &'a RawValue,
}
