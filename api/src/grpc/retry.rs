//! When to come back, for a caller that is sent away: a different moment for each, so that they do not all come at once.
//!
//! The moment is in the status as gRPC has it: the detail `google.rpc.RetryInfo` for those who read statuses, and the
//! trailer `grpc-retry-pushback-ms` for client libraries that retry by themselves.

use prost::Message as _;
use prost_types::Any;
use std::{ops::Range, time::Duration};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

/// Those who are refused because there is no room. Long: room comes when somebody leaves.
const WITHOUT_ROOM: Range<Duration> = Duration::from_secs(5)..Duration::from_secs(15);

/// At the end of a process: how many watchers a second are sent to the other replicas, and over how long they are
/// spread at least and at most.
const RETURNING_PER_S: u32 = 2_000;
const SPREAD: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

/// `google.rpc.Status`, the part that we use.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// There are as many watchers as there may be.
pub(super) fn no_room(most: usize) -> Status {
    let delay = within(&WITHOUT_ROOM);
    let message = format!(
        "this replica has {most} watches open, which is all that it takes (--max-watchers); watch again in {:.1} s, or \
         ask another replica",
        delay.as_secs_f64()
    );
    with_delay(Code::ResourceExhausted, message, delay)
}

/// The process is going away, with this many watchers.
pub(super) fn going_away(watchers: usize, message: impl Into<String>) -> Status {
    with_delay(Code::Unavailable, message.into(), within(&(Duration::ZERO..spread(watchers))))
}

fn spread(watchers: usize) -> Duration {
    let watchers = u32::try_from(watchers).unwrap_or(u32::MAX);
    (Duration::from_secs(1) * watchers / RETURNING_PER_S).clamp(SPREAD[0], SPREAD[1])
}

fn within(range: &Range<Duration>) -> Duration {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rand::random_range(millis(range.start)..millis(range.end)))
}

fn with_delay(code: Code, message: String, delay: Duration) -> Status {
    let info = RetryInfo { retry_delay: prost_types::Duration::try_from(delay).ok() };
    let detail =
        Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info.encode_to_vec() };
    let details = RpcStatus { code: code.into(), message: message.clone(), details: vec![detail] };
    let mut metadata = MetadataMap::new();
    let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    metadata.insert("grpc-retry-pushback-ms", MetadataValue::from(millis));
    Status::with_details_and_metadata(code, message, details.encode_to_vec().into(), metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_watchers_leave_the_longer_is_their_return_spread() {
        let spread: Vec<_> = [0, 1, 4_000, 10_000, 1_000_000, usize::MAX].into_iter().map(spread).collect();
        let expected = [500, 500, 2_000, 5_000, 10_000, 10_000].map(Duration::from_millis);
        assert_eq!(spread, expected);
    }

    #[test]
    fn a_status_says_the_same_moment_in_both_ways() {
        let status = with_delay(Code::Unavailable, "later".to_owned(), Duration::from_millis(1_250));
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1250");
        let details = RpcStatus::decode(status.details()).unwrap();
        assert_eq!((details.code, details.message.as_str()), (14, "later"));
        let [detail] = &*details.details else { panic!("one detail") };
        assert_eq!(detail.type_url, "type.googleapis.com/google.rpc.RetryInfo");
        let delay = RetryInfo::decode(&*detail.value).unwrap().retry_delay;
        assert_eq!(delay, Some(prost_types::Duration { seconds: 1, nanos: 250_000_000 }));
    }
}
