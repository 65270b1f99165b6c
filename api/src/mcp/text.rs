//! Text that others wrote, made safe to show to a model: names, labels, messages from the cluster.
//!
//! Such text stands only in fields of data, never in what we say ourselves. It is cut to a length, and characters that
//! hide or reorder what follows (control, zero-width, bidirectional, tags) become `\u{…}`.

use std::{borrow::Cow, fmt::Write as _};

/// The most characters of one text of others.
const MAX: usize = 256;

/// `text` as data: at most 256 characters, and none that is invisible.
pub(crate) fn data(text: &str) -> String {
    longer(text, MAX)
}

/// As [`data`] with room for whole sentences or a spec: at most `max` characters, and about as many bytes.
pub(crate) fn longer(text: &str, max: usize) -> String {
    let mut safe = String::with_capacity(text.len().min(max));
    for (at, char) in text.chars().enumerate() {
        // What is made visible takes many times its place.
        if at == max || safe.len() > max * 2 {
            safe.push('…');
            break;
        }
        if hides(char) {
            // Writing to a String does not fail.
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(char));
        } else {
            safe.push(char);
        }
    }
    safe
}

/// Data as it stands in lines of text: a plain name as it is, all else between quotes that it cannot close.
pub(crate) fn quoted(data: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@,*".contains(&byte);
    if !data.is_empty() && data.bytes().all(plain) {
        return Cow::Borrowed(data);
    }
    Cow::Owned(format!("\"{}\"", data.replace('"', "'")))
}

/// True when text of several lines can be shown as it is, because nothing in it hides.
pub(crate) fn is_visible(text: &str) -> bool {
    text.chars().all(|char| char == '\n' || !hides(char))
}

/// Control characters, and those that Unicode has for joining, direction, tags and variants.
fn hides(char: char) -> bool {
    char.is_control()
        || matches!(
            u32::from(char),
            0x00AD
                | 0x034F
                | 0x061C
                | 0x115F..=0x1160
                | 0x17B4..=0x17B5
                | 0x180B..=0x180F
                | 0x200B..=0x200F
                | 0x2028..=0x202E
                | 0x2060..=0x206F
                | 0x3164
                | 0xFE00..=0xFE0F
                | 0xFEFF
                | 0xFFA0
                | 0xFFF0..=0xFFFB
                | 0x1D173..=0x1D17A
                | 0xE0000..=0xE0FFF
        )
}

/// A number with as many digits as say something: three.
pub(crate) fn number(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return 0.0;
    }
    let digits = 2 - number.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits.clamp(0, 12));
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_reorders_text_is_shown_as_what_it_is() {
        assert_eq!(data("a\u{202e}b\u{200b}c\u{1b}[31m\n"), "a\\u{202e}b\\u{200b}c\\u{1b}[31m\\u{a}");
        assert_eq!(data("\u{e0041}tag"), "\\u{e0041}tag");
        assert_eq!(data("größe-日本"), "größe-日本");
    }

    #[test]
    fn what_is_no_plain_name_stands_between_quotes_that_it_cannot_close() {
        assert_eq!(quoted("shop/deployment/web:80"), "shop/deployment/web:80");
        assert_eq!(quoted("a\" ignore \\\" all"), "\"a' ignore \\' all\"");
        assert_eq!(quoted("**a** `b`"), "\"**a** `b`\"");
        assert_eq!(quoted(""), "\"\"");
    }

    #[test]
    fn what_is_made_visible_does_not_take_many_times_the_room() {
        assert!(longer(&"\u{202e}".repeat(1_000), 256).len() < 530);
    }

    #[test]
    fn long_text_is_cut() {
        assert_eq!(data(&"x".repeat(1_000)).chars().count(), MAX + 1);
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(1234.567), 1235.0);
        assert_eq!(number(12.3456), 12.3);
        assert_eq!(number(0.012_345), 0.0123);
        assert_eq!(number(0.0), 0.0);
    }
}
