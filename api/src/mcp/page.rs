//! Lists that fit a model's context: as many rows as the budget takes, how many there are, and how to get the rest.

use super::share;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use linkerd_mcp_graph::wire::fnv1a;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of everything an answer carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Detail {
    /// What matters, in at most about 2,000 tokens.
    #[default]
    Concise,
    /// All that is known, in at most about 8,000 tokens.
    Full,
}

/// What list tools take besides their own arguments.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Paging {
    /// The most rows.
    #[schemars(range(min = 1, max = 200))]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the answer before, with the same other arguments, for the rows after it.
    pub(crate) cursor: Option<String>,
    /// `concise` or `full`.
    pub(crate) detail: Detail,
}

/// Which rows an answer has.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Page {
    /// How many there are in all.
    pub(crate) total: usize,
    /// How many are left out here after the last row.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) more: usize,
    /// Asks for the rows after these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// A cursor that is not from this list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`cursor` is not one that this tool gave for these arguments: leave it out to start over, and give the \
     `next_cursor` of the last answer, with the same arguments, to go on"
)]
pub(crate) struct BadCursor;

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A token is 3 to 4 bytes of such JSON; the rest of an answer takes some too.
const CONCISE_BYTES: usize = 5_000;
const FULL_BYTES: usize = 22_000;
const DEFAULT_LIMIT: usize = 20;

// === impl Detail ===

impl Detail {
    /// The most bytes of the rows of an answer, as JSON.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Concise => CONCISE_BYTES,
            Self::Full => FULL_BYTES,
        }
    }
}

// === impl Paging ===

impl Paging {
    /// The rows of one page. `asked` is all arguments that choose and order rows: a cursor is only good for them.
    ///
    /// Rows are made until the page is full, so a list of 10,000 costs a page. At least one row is in every page that
    /// has any left.
    pub(crate) fn rows<T, R: Serialize>(
        &self,
        asked: &str,
        items: &[T],
        row: impl FnMut(&T) -> R,
    ) -> Result<(Vec<R>, Page), BadCursor> {
        self.rows_within(self.detail.bytes(), asked, items, row)
    }

    /// As [`Paging::rows`], in the bytes that the rest of the answer leaves.
    pub(crate) fn rows_within<T, R: Serialize>(
        &self,
        room: usize,
        asked: &str,
        items: &[T],
        row: impl FnMut(&T) -> R,
    ) -> Result<(Vec<R>, Page), BadCursor> {
        self.rows_of(items.len(), room, asked, items, row)
    }

    /// As [`Paging::rows_within`], of a list of `total` items, of which at least the first [`Paging::reach`] are `items`.
    pub(crate) fn rows_of<T, R: Serialize>(
        &self,
        total: usize,
        room: usize,
        asked: &str,
        items: &[T],
        mut row: impl FnMut(&T) -> R,
    ) -> Result<(Vec<R>, Page), BadCursor> {
        let list = fnv1a(asked.as_bytes());
        let start = match self.cursor.as_deref().filter(|it| !it.is_empty()) {
            None => 0,
            Some(cursor) => position(cursor, list).ok_or(BadCursor)?,
        };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for item in items.iter().skip(start).take(self.limit()) {
            let row = row(item);
            bytes += share::bytes(&row);
            if bytes > room && !rows.is_empty() {
                break;
            }
            rows.push(row);
        }
        let end = (start + rows.len()).min(total);
        let more = total - end;
        let next_cursor = (more > 0).then(|| URL_SAFE_NO_PAD.encode(format!("{end}.{list:x}")));
        Ok((rows, Page { total, more, next_cursor }))
    }

    /// How many items from the first one on may be shown: those need to be in order, and no others.
    pub(crate) fn reach(&self) -> usize {
        let start = self.cursor.as_deref().and_then(decoded).map_or(0, |(at, _)| at);
        start.saturating_add(self.limit())
    }

    fn limit(&self) -> usize {
        self.limit.map_or(DEFAULT_LIMIT, |it| usize::try_from(it).unwrap_or(DEFAULT_LIMIT))
    }

    /// True when the rows asked for are the first ones.
    pub(crate) fn is_first(&self) -> bool {
        self.cursor.as_deref().is_none_or(str::is_empty)
    }
}

fn position(cursor: &str, list: u64) -> Option<usize> {
    decoded(cursor).filter(|(_, of)| *of == list).map(|(at, _)| at)
}

/// A place, and the list that it is in.
fn decoded(cursor: &str) -> Option<(usize, u64)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (at, of) = text.split_once('.')?;
    Some((at.parse().ok()?, u64::from_str_radix(of, 16).ok()?))
}

// === impl Page ===

impl Page {
    /// A line for what is left out; none when nothing is.
    pub(crate) fn text(&self, narrow: &str) -> String {
        match self.more {
            0 => String::new(),
            more => format!("{more} more of {}: {narrow}, or pass next_cursor.\n", self.total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(cursor: Option<String>) -> Paging {
        Paging { limit: Some(3), cursor, detail: Detail::Concise }
    }

    #[test]
    fn cursors_lead_through_all_rows_once() {
        let items: Vec<u32> = (0..8).collect();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let (rows, page) = paging(cursor).rows("list", &items, |it| *it).unwrap();
            seen.extend(rows);
            assert_eq!((page.total, page.more), (8, 8 - seen.len()));
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, items);
    }

    #[test]
    fn a_cursor_of_another_list_or_none_at_all_is_refused() {
        let items: Vec<u32> = (0..8).collect();
        let (_, page) = paging(None).rows("list", &items, |it| *it).unwrap();
        assert_eq!(paging(page.next_cursor).rows("other", &items, |it| *it).unwrap_err(), BadCursor);
        for nonsense in ["x", "AAAA", "MTIz", "é"] {
            assert!(paging(Some(nonsense.to_owned())).rows("list", &items, |it| *it).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_page_ends_when_its_bytes_are_used_up_but_is_never_empty() {
        let items = vec!["x".repeat(2_000); 5];
        let all = Paging { limit: Some(200), ..Paging::default() };
        assert_eq!(all.rows("list", &items, Clone::clone).unwrap().0.len(), 2);
        let huge = vec!["x".repeat(50_000); 2];
        assert_eq!(all.rows("list", &huge, Clone::clone).unwrap().0.len(), 1);
    }
}
