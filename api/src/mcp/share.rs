//! Answers with several lists: each takes a share of the bytes that a model's context has for the answer.

use super::page::Detail;
use schemars::JsonSchema;
use serde::Serialize;
use std::io;

/// The first rows of a list, and how many it has.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Rows<R> {
    /// How many there are in all.
    pub(crate) total: usize,
    /// The first of them.
    pub(crate) rows: Vec<R>,
}

/// What is left of an answer's bytes.
#[derive(Debug)]
pub(crate) struct Share {
    all: usize,
    left: usize,
}

// === impl Rows ===

impl<R> Rows<R> {
    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many are left out.
    pub(crate) fn more(&self) -> usize {
        self.total - self.rows.len()
    }

    /// A line for what is left out; none when nothing is.
    pub(crate) fn rest(&self) -> String {
        match self.more() {
            0 => String::new(),
            more => format!("  and {more} more\n"),
        }
    }
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { total: 0, rows: Vec::new() }
    }
}

// === impl Share ===

impl Share {
    pub(crate) fn of(detail: Detail) -> Self {
        Self { all: detail.bytes(), left: detail.bytes() }
    }

    /// As many rows as `percent` of the whole answer holds, if that much is left. What a list does not use is left to
    /// those after it.
    pub(crate) fn rows<T, R: Serialize>(
        &mut self,
        percent: usize,
        items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        mut row: impl FnMut(T) -> R,
    ) -> Rows<R> {
        let items = items.into_iter();
        let (total, mut room) = (items.len(), (self.all * percent / 100).min(self.left));
        let mut rows = Vec::new();
        for item in items {
            let row = row(item);
            let bytes = bytes(&row);
            if bytes > room {
                break;
            }
            room -= bytes;
            self.left -= bytes;
            rows.push(row);
        }
        Rows { total, rows }
    }

    /// Takes away what stands outside of lists.
    pub(crate) fn spend(&mut self, value: &impl Serialize) {
        self.left = self.left.saturating_sub(bytes(value));
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }
}

/// What a value takes as JSON, with the comma. It is counted, not written.
pub(super) fn bytes(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(0, |()| count.0 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_its_share_and_what_it_leaves_is_there_for_the_next() {
        let long = vec!["x".repeat(497); 100];
        let mut share = Share::of(Detail::Concise);
        let first = share.rows(40, &long, |it| it);
        assert_eq!((first.rows.len(), first.more()), (4, 96));
        assert_eq!(share.rows(10, Vec::<u8>::new(), |it| it).total, 0);
        assert_eq!(share.rows(100, &long, |it| it).rows.len(), 6);
        assert_eq!((share.left(), share.rows(100, &long, |it| it).rows.len()), (0, 0));
    }
}
