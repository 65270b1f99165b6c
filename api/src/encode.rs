//! Graphs as bytes: protobuf for gRPC, JSON for HTTP.
//!
//! An answer is a small head that is made per call, because it says how old the answer is, and a body that is made
//! once per revision and shared by all callers. Neither format needs the head inside the body: protobuf fields may
//! come in any pieces, and JSON members are text between commas.

pub(crate) mod freshness;
pub(crate) mod json;
pub(crate) mod message;
pub(crate) mod proto;

use linkerd_mcp_graph::{
    feed::Position,
    query::{Part, Rollups, edges::Numbered},
};
use linkerd_mcp_proto::v1;

/// How much of each thing an answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Detail {
    /// Everything.
    Full,
    /// Without the specs of policies.
    Summary,
    /// Edges only.
    Edges,
}

/// What an answer is made from.
pub(crate) struct Source<'a> {
    pub(crate) part: Part<'a>,
    /// The edges of the part with their numbers.
    pub(crate) numbered: Vec<Numbered<'a>>,
    pub(crate) rollups: Rollups<'a>,
    pub(crate) detail: Detail,
}

impl Detail {
    /// Every detail, in the order of [`Detail::index`].
    pub(crate) const COUNT: usize = 3;

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl From<v1::View> for Detail {
    fn from(view: v1::View) -> Self {
        match view {
            v1::View::Unspecified => Self::Full,
            v1::View::Summary => Self::Summary,
            v1::View::Edges => Self::Edges,
        }
    }
}

/// A position as a message.
pub(crate) fn position(position: Position) -> v1::Position {
    v1::Position { epoch: position.epoch, seq: position.seq }
}

/// Milliseconds since the Unix epoch as a message.
pub(crate) fn timestamp(ms: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1000) * 1_000_000).expect("below a second");
    prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_in_utc() {
        let text = |ms| timestamp(ms).to_string();
        assert_eq!(text(1_700_000_000_250), "2023-11-14T22:13:20.250Z");
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
    }
}
