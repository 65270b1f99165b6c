//! Lines of a client, none longer than a bound.

use std::io::{self, BufRead};

/// The most bytes of a line: what the API takes of a request, and a little for what HTTP has no need of.
pub(crate) const MAX: usize = (4 << 20) + 1_024;

/// What a client wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its end.
    Text(Vec<u8>),
    /// One that is too long. It has been read to its end and thrown away.
    TooLong,
}

/// The next line that is not empty; none at the end. A last line without an end counts.
///
/// # Errors
/// When the input cannot be read.
pub(crate) fn next(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut text = Vec::new();
    let mut too_long = false;
    loop {
        let bytes = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let end = bytes.iter().position(|it| *it == b'\n');
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        let over = bytes.is_empty();
        if too_long || text.len() + piece.len() > MAX {
            too_long = true;
            text = Vec::new();
        } else {
            text.extend_from_slice(piece);
        }
        let used = end.map_or(bytes.len(), |at| at + 1);
        input.consume(used);
        if end.is_none() && !over {
            continue;
        }
        if too_long {
            return Ok(Some(Line::TooLong));
        }
        if !text.trim_ascii().is_empty() {
            return Ok(Some(Line::Text(std::mem::take(&mut text))));
        }
        if over {
            return Ok(None);
        }
        text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn all(input: &[u8]) -> Vec<Line> {
        let mut input = BufReader::with_capacity(7, input);
        std::iter::from_fn(|| next(&mut input).unwrap()).collect()
    }

    fn text(text: &str) -> Line {
        Line::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_come_whole_without_empty_ones_and_the_last_needs_no_end() {
        assert_eq!(
            all(b"one\n\r\n\n  \ntwo two two\nthree"),
            [text("one"), text("two two two"), text("three")]
        );
        assert_eq!(all(b""), []);
        assert_eq!(all(b"\n\n"), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_the_next_is_read() {
        let long = [&vec![b'x'; MAX + 1][..], b"\nnext\n"].concat();
        assert_eq!(all(&long), [Line::TooLong, text("next")]);
        let just = vec![b'x'; MAX];
        assert_eq!(all(&just), [Line::Text(just.clone())]);
    }
}
