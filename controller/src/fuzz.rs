//! The door for the fuzz targets to readers that are nobody else's business. Not part of the API.

use crate::{
    graph::{
        fact::{Change, Fact, Key},
        kind::Kind,
    },
    informer::{WatchLine, event, page},
    prometheus::configured_interval,
    watch::fact_from_json,
};

/// What one line of a watch on `kind` tells; `None` for a bookmark and for what the watch refuses or skips.
pub fn watch_line(kind: Kind, line: &[u8]) -> Option<Change> {
    match event(line).ok()? {
        WatchLine::Applied(json, _) => fact_from_json(kind, json.as_bytes()).ok().map(Change::Apply),
        WatchLine::Deleted(head) => Some(Change::Delete(kind, Key::new(head.namespace, head.name))),
        WatchLine::Bookmark(_) => None,
    }
}

/// What one page of a list of `kind` tells; objects that cannot be read are skipped.
pub fn list_page(kind: Kind, body: &[u8]) -> Option<Vec<Fact>> {
    let page = page(body).ok()?;
    page.resource_version().ok()?;
    Some(page.items().filter_map(|json| fact_from_json(kind, json.as_bytes()).ok()).collect())
}

/// The scrape interval, in seconds, that Prometheus' answer about its configuration tells.
pub fn scrape_interval(answer: &str) -> Option<f64> {
    configured_interval(answer)
}
