use super::*;
use crate::change::record::{Outcome, Who};

fn record(number: u64) -> Record {
    Record {
        id: format!("c-{number}"),
        at_ms: i64::try_from(number).unwrap(),
        by: Who { user: "me".to_owned(), identity: "me".to_owned(), proof: "token".to_owned() },
        outcome: Outcome::Applied,
        text: String::new(),
        plan_id: String::new(),
        payload_sha256: String::new(),
        reason: String::new(),
        objects: Vec::new(),
        diff: String::new(),
        undone_by: String::new(),
        undoes: String::new(),
        guarded_until_ms: None,
    }
}

fn entry(number: u64, bytes: usize) -> Entry {
    Entry { id: format!("c-{number}"), at_ms: 0, bytes, number }
}

#[test]
fn the_log_is_bounded_by_count_and_by_bytes() {
    let many: Vec<Entry> = (0..MOST_CHANGES as u64 + 3).rev().map(|number| entry(number, 1)).collect();
    assert_eq!(surplus(&many).len(), 3);
    assert_eq!(surplus(&many[..MOST_CHANGES]), []);
    let large = [entry(3, MOST_BYTES / 2), entry(2, MOST_BYTES / 2), entry(1, 1)];
    assert_eq!(surplus(&large), [entry(1, 1)]);
    let newest_too_large = [entry(2, MOST_BYTES + 1), entry(1, 1)];
    assert_eq!(surplus(&newest_too_large).len(), 2, "no single one is as large: `begin` refuses it");
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_taken_once_and_not_after_its_time() {
    let store = Store::memory();
    store.keep_plan("a", b"sealed", Duration::from_secs(300)).await.unwrap();
    assert_eq!(store.read_plan("a").await.unwrap(), Some(b"sealed".to_vec()), "to look at it takes nothing");
    assert_eq!(store.take_plan("a").await.unwrap(), Some(b"sealed".to_vec()));
    assert_eq!(store.read_plan("a").await.unwrap(), None);
    assert_eq!(store.take_plan("a").await.unwrap(), None);
    store.keep_plan("b", b"sealed", Duration::from_secs(300)).await.unwrap();
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(store.read_plan("b").await.unwrap(), None);
    assert_eq!(store.take_plan("b").await.unwrap(), None);
    for number in 0..MOST_PLANS / MOST_ONE {
        store.keep_plan(&format!("d{number}"), &vec![0; MOST_ONE], Duration::from_secs(300)).await.unwrap();
    }
    let full = store.keep_plan("e", b"sealed", Duration::from_secs(300)).await;
    assert!(matches!(full, Err(Error::Full)), "{full:?}");
    tokio::time::advance(Duration::from_secs(300)).await;
    store.keep_plan("e", b"sealed", Duration::from_secs(300)).await.unwrap();
    let large = vec![0; MOST_ONE + 1];
    let refused = store.keep_plan("c", &large, Duration::from_secs(1)).await;
    assert!(matches!(refused, Err(Error::TooLarge(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn changes_come_the_newest_first_and_what_was_forgotten_is_said() {
    let store = Store::memory();
    for number in 1..=MOST_CHANGES as u64 {
        store.begin(&record(number), &[]).await.unwrap();
    }
    let page = store.changes(&|_| true, 2).await.unwrap();
    let expected = Page {
        records: vec![record(MOST_CHANGES as u64), record(MOST_CHANGES as u64 - 1)],
        truncated: true,
        since_ms: None,
    };
    assert_eq!(page, expected);
    store.begin(&record(MOST_CHANGES as u64 + 1), &[]).await.unwrap();
    let page = store.changes(&|record| record.at_ms < 4, 500).await.unwrap();
    assert_eq!(
        (page.records, page.since_ms),
        (vec![record(3), record(2)], Some(2)),
        "the first is forgotten"
    );
    assert_eq!(store.change("c-1").await.unwrap(), None);
    assert_eq!(store.change("c-2").await.unwrap(), Some(record(2)));
}
