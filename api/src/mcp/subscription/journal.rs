//! The last things that happened, with when: for those who ask afterwards.

use crate::{
    mcp::{
        resource::{date, few::few, uri::Uri},
        text::data,
    },
    rights::Scope,
};
use linkerd_mcp_graph::{
    id::Text,
    query::changes::{Change, Place},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// News that are kept: a few hundred bytes each.
const MAX_EVENTS: usize = 512;

/// Resources of which it is known when something last happened to them.
const MAX_DATES: usize = 8_192;

/// Times are in milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Since when it is kept; none before the first view.
    since_ms: Option<i64>,
    /// The oldest first.
    events: VecDeque<Event>,
    dates: BTreeMap<Uri, i64>,
}

#[derive(Debug)]
struct Event {
    at_ms: i64,
    what: &'static str,
    subject: String,
    /// Where it happened.
    namespaces: BTreeSet<Text>,
}

// === impl Journal ===

impl Journal {
    /// The first view: what happened before is not known.
    pub(super) fn begin(&mut self, at_ms: i64) {
        self.since_ms.get_or_insert(at_ms);
    }

    /// Writes down what happened, and to which resources.
    pub(super) fn write<'a>(&mut self, at_ms: i64, news: &[Change], touched: impl Iterator<Item = &'a Uri>) {
        for change in news.iter().rev().take(MAX_EVENTS).rev() {
            if self.events.len() == MAX_EVENTS
                && let Some(gone) = self.events.pop_front()
            {
                self.since_ms = Some(gone.at_ms);
            }
            let subject = data(&change.subject.to_string());
            let namespaces = change.places.iter().map(namespace_of).collect();
            self.events.push_back(Event { at_ms, what: change.what.name(), subject, namespaces });
        }
        if news.len() > MAX_EVENTS {
            self.since_ms = Some(at_ms);
        }
        for uri in touched {
            if self.dates.len() < MAX_DATES || self.dates.contains_key(uri) {
                self.dates.insert(uri.clone(), at_ms);
            }
        }
        if self.dates.len() >= MAX_DATES {
            // Half of them, the oldest: this is rare, and to keep them in order would cost each time.
            let mut dates: Vec<i64> = self.dates.values().copied().collect();
            let middle = dates.len() / 2;
            let (_, &mut median, _) = dates.select_nth_unstable(middle);
            self.dates.retain(|_, at| *at > median);
        }
    }

    /// When something last happened to a resource, where that is known.
    pub(crate) fn changed(&self, uri: &Uri) -> Option<String> {
        self.dates.get(uri).copied().map(date)
    }

    /// What happened since where somebody may see it, the newest first. Of an edge one end is enough, as in the graph.
    pub(crate) fn since(&self, from_ms: i64, scope: &Scope) -> Value {
        let seen =
            |it: &&Event| *scope == Scope::All || it.namespaces.iter().any(|namespace| scope.has(namespace));
        let since = self.events.iter().rev().take_while(|it| it.at_ms >= from_ms);
        let news: Vec<&Event> = since.filter(seen).collect();
        let mut found = few(
            &news,
            news.len(),
            |it| json!({"at": date(it.at_ms), "what": it.what, "subject": it.subject}),
        );
        if let Some(since) = self.since_ms.filter(|it| *it > from_ms) {
            found["not_known_before"] = date(since).into();
        }
        found
    }
}

fn namespace_of(place: &Place) -> Text {
    match place {
        Place::Namespace(name) => name.clone(),
        Place::Service(id) => id.namespace().into(),
        Place::Workload(id) => id.namespace().into(),
        Place::Policy(id) => id.namespace().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linkerd_mcp_graph::query::changes::{Subject, What};
    use std::sync::Arc;

    fn mk_news(name: &str) -> Change {
        Change {
            what: What::NamespaceAppeared,
            subject: Subject::Namespace(name.into()),
            places: vec![Place::Namespace(name.into())],
        }
    }

    #[test]
    fn news_are_kept_with_their_time_and_it_is_said_how_far_they_reach() {
        let mut journal = Journal::default();
        journal.begin(10_000);
        let uri = Uri::Namespace("a".into());
        journal.write(20_000, &[mk_news("a")], [&uri].into_iter());
        journal.write(30_000, &[mk_news("b")], std::iter::empty());
        assert_eq!(
            journal.since(15_000, &Scope::All),
            json!({"total": 2, "items": [
                {"at": "1970-01-01T00:00:30Z", "what": "namespace_appeared", "subject": "b"},
                {"at": "1970-01-01T00:00:20Z", "what": "namespace_appeared", "subject": "a"},
            ]})
        );
        assert_eq!(journal.since(25_000, &Scope::All)["total"], 1);
        assert_eq!(journal.since(5_000, &Scope::All)["not_known_before"], "1970-01-01T00:00:10Z");
        let only_b = Scope::Only(Arc::new(["b".into()].into()));
        assert_eq!(journal.since(5_000, &only_b)["items"].as_array().unwrap().len(), 1);
        assert_eq!(journal.changed(&uri).as_deref(), Some("1970-01-01T00:00:20Z"));
        assert_eq!(journal.changed(&Uri::Namespace("b".into())), None);
    }

    #[test]
    fn what_is_dropped_shortens_how_far_it_reaches() {
        let mut journal = Journal::default();
        journal.begin(0);
        for at in 0..=i64::try_from(MAX_EVENTS).unwrap() {
            journal.write(at * 1_000, &[mk_news("a")], std::iter::empty());
        }
        assert_eq!(journal.events.len(), MAX_EVENTS);
        assert_eq!(journal.since_ms, Some(0));
        let many: Vec<Change> = (0..2 * MAX_EVENTS).map(|at| mk_news(&at.to_string())).collect();
        journal.write(9_000_000, &many, std::iter::empty());
        assert_eq!((journal.events.len(), journal.since_ms), (MAX_EVENTS, Some(9_000_000)));
        let uris: Vec<Uri> = (0..2 * MAX_DATES).map(|at| Uri::Namespace(at.to_string().into())).collect();
        for (at, uri) in (0i64..).zip(&uris) {
            journal.write(at, &[], [uri].into_iter());
        }
        assert!(journal.dates.len() <= MAX_DATES);
        assert!(journal.changed(uris.last().unwrap()).is_some() && journal.changed(&uris[0]).is_none());
    }
}
