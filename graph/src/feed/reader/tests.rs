//! One rule at a time; all of them together, with every fault, are in `feed/tests`.

use super::*;
use crate::{id::Text, metrics::EdgeMetrics, model::Namespace, status::MetricsStatus, wire::frame};

const EPOCH: u64 = 5;

const fn at(seq: u64) -> Position {
    Position { epoch: EPOCH, seq }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The graph after change number `seq`: it has as many namespaces.
fn mk_graph(seq: u64) -> Graph {
    let mut graph = Graph::default();
    for name in 1..=seq {
        graph.namespaces.insert(Text::from(format!("n{name}")), Arc::new(Namespace::default()));
    }
    graph
}

fn mk_change(position: Position) -> Vec<u8> {
    let delta = delta::diff(&mk_graph(position.seq - 1), &mk_graph(position.seq));
    envelope::encode(position, 1, Some(&patch::encode(&delta))).into_bytes()
}

fn mk_heartbeat(position: Position) -> Vec<u8> {
    envelope::encode(position, 1, None).into_bytes()
}

fn mk_entries(seqs: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    seqs.map(|seq| Entry { position: at(seq), envelope: mk_change(at(seq)) }).collect()
}

fn mk_topology(position: Position) -> Topology {
    let as_of_ms = i64::try_from(position.seq).expect("it is small");
    Topology { position, as_of_ms, graph: mk_graph(position.seq) }
}

fn mk_reader() -> Reader {
    let options = Options { frame: Limits::FRAME, silence: s(10), between_requests: s(5) };
    let mut reader = Reader::new(options, 1);
    assert!(matches!(reader.command(s(0)), Command::Connect { .. }));
    reader.take(s(0), Input::Connected);
    reader
}

/// A reader that is live at `position`.
fn mk_live(position: Position) -> Reader {
    let mut reader = mk_reader();
    snapshot(&mut reader, s(0), position);
    log(&mut reader, s(0), position.epoch, &[]);
    assert_eq!(reader.command(s(0)), Command::Listen { until: s(10) });
    said(&mut reader);
    reader
}

fn snapshot(reader: &mut Reader, now: Duration, position: Position) {
    assert_eq!(reader.command(now), Command::Snapshot);
    reader.take(now, Input::Snapshot { snapshot: Some(Ok(mk_topology(position))), frame: None });
}

fn log(reader: &mut Reader, now: Duration, reign: u64, entries: &[Entry]) {
    assert!(matches!(reader.command(now), Command::Log { .. }), "{:?}", reader.command(now));
    reader.take(now, Input::Log { reign: Some(reign), entries });
}

/// What it says, in short.
fn said(reader: &mut Reader) -> Vec<String> {
    std::iter::from_fn(|| reader.output())
        .map(|output| match output {
            Output::Event(Event::Snapshot(snapshot)) => {
                assert_eq!(*snapshot.graph, mk_graph(snapshot.position.seq));
                format!("snapshot {}", snapshot.position.seq)
            }
            Output::Event(Event::Delta { position, .. }) => format!("change {}", position.seq),
            Output::Event(Event::Metrics { .. }) => "numbers".to_owned(),
            Output::Event(Event::Heartbeat { .. }) => "heartbeat".to_owned(),
            Output::Notice(notice) => format!("{notice:?}"),
        })
        .filter(|said| !said.starts_with("Applied") && !said.starts_with("Began"))
        .collect()
}

#[test]
fn a_snapshot_and_the_log_after_it_are_one_event() {
    let mut reader = mk_reader();
    snapshot(&mut reader, s(0), at(2));
    assert_eq!(reader.command(s(0)), Command::Log { after: at(2) });
    log(&mut reader, s(0), EPOCH, &mk_entries(3..=4));
    assert_eq!((said(&mut reader), reader.position()), (vec!["snapshot 4".to_owned()], Some(at(4))));
}

#[test]
fn a_missing_change_is_read_from_the_log_and_one_that_came_early_is_not_applied_before() {
    let mut reader = mk_live(at(1));
    reader.take(s(1), Input::Envelope(&mk_change(at(3))));
    assert_eq!(reader.command(s(1)), Command::Log { after: at(1) });
    log(&mut reader, s(1), EPOCH, &mk_entries(2..=3));
    reader.take(s(1), Input::Envelope(&mk_change(at(2))));
    reader.take(s(1), Input::Envelope(&mk_heartbeat(at(3))));
    assert_eq!(said(&mut reader), ["Gap", "change 2", "change 3", "Duplicate", "heartbeat"]);
}

#[test]
fn a_snapshot_older_than_the_log_is_not_begun_from_and_a_newer_one_is_asked_for() {
    let mut reader = mk_reader();
    snapshot(&mut reader, s(0), at(2));
    log(&mut reader, s(0), EPOCH, &mk_entries(5..=6));
    assert_eq!(reader.command(s(0)), Command::Request);
    reader.take(s(0), Input::Requested);
    assert_eq!(said(&mut reader), ["Unhydrated(\"the log begins after the snapshot\")", "Requested"]);
    // The leader's snapshot wakes us; not before some time has passed since the last look.
    reader.take(s(0), Input::Envelope(&mk_heartbeat(at(6))));
    assert_eq!(reader.command(s(0)), Command::Listen { until: Duration::from_millis(100) });
    snapshot(&mut reader, s(1), at(6));
    log(&mut reader, s(1), EPOCH, &[]);
    assert_eq!(said(&mut reader), ["snapshot 6"]);
}

#[test]
fn a_snapshot_of_a_reign_that_is_over_is_not_begun_from() {
    let mut reader = mk_reader();
    snapshot(&mut reader, s(0), at(2));
    log(&mut reader, s(0), EPOCH + 1, &[]);
    assert_eq!(reader.command(s(0)), Command::Request);
    assert_eq!(said(&mut reader), ["Unhydrated(\"the snapshot is of a reign that is over\")"]);
}

#[test]
fn a_message_of_another_reign_counts_only_if_redis_says_so() {
    let mut reader = mk_live(at(1));
    let fenced = Position { epoch: EPOCH - 1, seq: 2 };
    reader.take(s(1), Input::Envelope(&mk_change(fenced)));
    assert_eq!(reader.command(s(1)), Command::Reign);
    reader.take(s(1), Input::Reign(Some(EPOCH)));
    assert_eq!((said(&mut reader), reader.position()), (vec!["Outdated".to_owned()], Some(at(1))));
    let next = Position { epoch: EPOCH + 1, seq: 0 };
    reader.take(s(1), Input::Envelope(&mk_heartbeat(next)));
    reader.take(s(1), Input::Reign(Some(EPOCH + 1)));
    snapshot(&mut reader, s(1), next);
    log(&mut reader, s(1), EPOCH + 1, &[]);
    assert_eq!((said(&mut reader), reader.position()), (vec!["snapshot 0".to_owned()], Some(next)));
}

#[test]
fn a_position_of_a_reign_that_has_ended_is_not_waited_for() {
    let mut reader = mk_live(at(1));
    reader.take(s(1), Input::Envelope(&mk_heartbeat(at(9))));
    log(&mut reader, s(1), EPOCH, &[]);
    let next = Position { epoch: EPOCH + 1, seq: 0 };
    snapshot(&mut reader, s(1), next);
    log(&mut reader, s(1), EPOCH + 1, &[]);
    assert_eq!((said(&mut reader), reader.position()), (vec!["Gap".into(), "snapshot 0".into()], Some(next)));
}

#[test]
fn a_damaged_position_is_given_up_when_the_leader_has_written_another_snapshot() {
    let mut reader = mk_live(at(1));
    reader.take(s(1), Input::Envelope(&mk_heartbeat(at(1_000_000))));
    log(&mut reader, s(1), EPOCH, &[]);
    snapshot(&mut reader, s(1), at(1));
    log(&mut reader, s(1), EPOCH, &[]);
    reader.take(s(1), Input::Requested);
    let why = "Unhydrated(\"the snapshot and the log do not reach the present\")";
    assert_eq!(said(&mut reader), ["Gap", why, "Requested"]);
    snapshot(&mut reader, s(3), at(1));
    log(&mut reader, s(3), EPOCH, &[]);
    assert_eq!(said(&mut reader), Vec::<String>::new(), "it is the same snapshot");
    snapshot(&mut reader, s(6), at(2));
    log(&mut reader, s(6), EPOCH, &[]);
    assert_eq!(said(&mut reader), ["snapshot 2"]);
}

#[test]
fn what_is_broken_is_counted_and_taken_whole_from_the_log() {
    let mut reader = mk_live(at(1));
    let mut broken = mk_change(at(2));
    let last = broken.len() - 4;
    broken[last] ^= 1;
    reader.take(s(1), Input::Envelope(&broken));
    log(&mut reader, s(1), EPOCH, &mk_entries(2..=2));
    let said = said(&mut reader);
    assert!(
        matches!(&*said, [refused, change] if refused.starts_with("Refused") && change == "change 2"),
        "{said:?}"
    );
}

#[test]
fn a_silent_connection_is_replaced_and_the_log_read() {
    let mut reader = mk_live(at(1));
    assert_eq!(reader.command(s(9)), Command::Listen { until: s(10) });
    reader.take(s(10), Input::Silence);
    assert_eq!(reader.command(s(10)), Command::Connect { not_before: s(10) });
    reader.take(s(10), Input::Connected);
    log(&mut reader, s(10), EPOCH, &mk_entries(2..=2));
    assert_eq!(said(&mut reader), ["Silence", "change 2"]);
}

#[test]
fn pauses_before_a_new_connection_grow_and_are_bounded() {
    let mut reader = mk_live(at(1));
    let pauses: Vec<Duration> = (0..12)
        .map(|_| {
            reader.take(s(1), Input::Lost);
            match reader.command(s(1)) {
                Command::Connect { not_before } => not_before - s(1),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert!(pauses[0] <= Duration::from_millis(50) && pauses[11] >= s(2) && pauses[11] <= s(5), "{pauses:?}");
}

#[test]
fn numbers_wait_for_their_topology_and_those_of_a_reign_that_is_over_are_dropped() {
    let mk_frame = |position: Position| {
        let graph = mk_graph(position.seq);
        let status = MetricsStatus { as_of_ms: Some(1), ..MetricsStatus::default() };
        let rows: Vec<(_, EdgeMetrics)> = Vec::new();
        frame::encode(position, &graph, graph.edges_hash(), &Metrics::new(status, rows))
    };
    let mut reader = mk_live(at(1));
    let next = Position { epoch: EPOCH + 1, seq: 0 };
    reader.take(s(1), Input::Frame(&mk_frame(next)));
    assert_eq!(said(&mut reader), Vec::<String>::new());
    reader.take(s(1), Input::Envelope(&mk_heartbeat(next)));
    reader.take(s(1), Input::Reign(Some(EPOCH + 1)));
    snapshot(&mut reader, s(1), next);
    log(&mut reader, s(1), EPOCH + 1, &[]);
    assert_eq!(said(&mut reader), ["Numbers", "snapshot 0"]);
    reader.take(s(1), Input::Frame(&mk_frame(at(1))));
    assert_eq!(said(&mut reader), ["Outdated"]);
}

#[test]
fn a_replica_that_could_not_apply_something_starts_over() {
    let mut reader = mk_live(at(1));
    reader.take(s(1), Input::Envelope(&mk_change(at(2))));
    reader.resync();
    snapshot(&mut reader, s(1), at(1));
    log(&mut reader, s(1), EPOCH, &mk_entries(2..=2));
    assert_eq!(said(&mut reader), ["snapshot 2"]);
}

#[test]
fn a_log_longer_than_one_reply_is_read_to_its_end() {
    let end = 1 + BATCH as u64;
    let mut reader = mk_live(at(1));
    reader.take(s(1), Input::Overflow);
    log(&mut reader, s(1), EPOCH, &mk_entries(2..=end));
    assert_eq!(reader.command(s(1)), Command::Log { after: at(end) });
    log(&mut reader, s(1), EPOCH, &mk_entries(end + 1..=end + 1));
    assert_eq!(reader.position(), Some(at(end + 1)));
    assert!(matches!(reader.command(s(1)), Command::Listen { .. }));

    let mut late = mk_reader();
    snapshot(&mut late, s(0), at(1));
    log(&mut late, s(0), EPOCH, &mk_entries(2..=end));
    assert_eq!(late.command(s(0)), Command::Log { after: at(end) });
    log(&mut late, s(0), EPOCH, &mk_entries(end + 1..=end + 1));
    assert_eq!(said(&mut late), [format!("snapshot {}", end + 1)]);
}
