//! Durations as Go writes and reads them, because `linkerd check` forwards them so: `5m0s`, `300ms`, `1h2m3.5s`.

use std::{fmt, str::FromStr, time::Duration};

/// A length of time in Go's notation. Not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

/// Text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No digits, no unit, or something between them.
    #[error("write numbers with a unit, as in `30s`, `300ms` or `1h2m3.5s`")]
    Form,
    /// A sign.
    #[error("a duration here cannot be negative")]
    Negative,
    /// More than Go's own limit, about 292 years.
    #[error("the duration is too long")]
    TooLong,
}

/// Longest unit first where one begins like another.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const GO_LIMIT: u128 = i64::MAX as u128;

// === impl GoDuration ===

impl FromStr for GoDuration {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut rest = match text.as_bytes().first() {
            Some(b'-') => return Err(ParseError::Negative),
            Some(b'+') => &text[1..],
            _ => text,
        };
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(ParseError::Form);
        }
        let mut total = 0_u128;
        while !rest.is_empty() {
            let (nanoseconds, after) = component(rest)?;
            total = total.saturating_add(nanoseconds);
            rest = after;
        }
        if total > GO_LIMIT {
            return Err(ParseError::TooLong);
        }
        Ok(Self(Duration::from_nanos(u64::try_from(total).map_err(|_| ParseError::TooLong)?)))
    }
}

/// One number with its unit, in nanoseconds, and what follows it.
fn component(text: &str) -> Result<(u128, &str), ParseError> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(ParseError::Form);
    }
    let (unit, scale) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or(ParseError::Form)?;
    let whole = match whole {
        "" => 0,
        _ => whole.parse::<u64>().map_err(|_| ParseError::TooLong)?,
    };
    let mut nanoseconds = u128::from(whole) * scale;
    let mut place = *scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanoseconds += u128::from(digit - b'0') * place;
    }
    Ok((nanoseconds, &rest[unit.len()..]))
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos();
        if nanoseconds == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in [("ns", 1), ("\u{b5}s", 1_000), ("ms", 1_000_000)] {
            if nanoseconds < scale * 1_000 && nanoseconds < 1_000_000_000 {
                return write!(f, "{}{unit}", decimal(nanoseconds, scale));
            }
        }
        let (minutes, seconds) = (nanoseconds / 60_000_000_000, nanoseconds % 60_000_000_000);
        match (minutes / 60, minutes % 60) {
            (0, 0) => {}
            (0, minutes) => write!(f, "{minutes}m")?,
            (hours, minutes) => write!(f, "{hours}h{minutes}m")?,
        }
        write!(f, "{}s", decimal(seconds, 1_000_000_000))
    }
}

/// `value / scale` without trailing zeros; `scale` is a power of ten.
fn decimal(value: u128, scale: u128) -> String {
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    let fraction = format!("{fraction:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_go_prints_are_read() {
        for (text, milliseconds) in [
            ("5m0s", 300_000),
            ("300ms", 300),
            ("1h2m3.5s", 3_723_500),
            ("0", 0),
            ("0s", 0),
            ("+2s", 2_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("1500us", 1),
            ("90s", 90_000),
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap().0.as_millis(), milliseconds, "{text}");
        }
        assert_eq!("2\u{b5}s".parse(), "2\u{3bc}s".parse::<GoDuration>());
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_what_to_write() {
        for text in ["", "+", "5", "s", ".s", "5 m", "1d", "5m0", "five"] {
            assert_eq!(text.parse::<GoDuration>(), Err(ParseError::Form), "{text}");
        }
        assert_eq!("-1s".parse::<GoDuration>(), Err(ParseError::Negative));
        assert_eq!("3000000h".parse::<GoDuration>(), Err(ParseError::TooLong));
        assert_eq!("99999999999999999999999h".parse::<GoDuration>(), Err(ParseError::TooLong));
    }

    #[test]
    fn a_duration_is_printed_as_go_prints_it() {
        for text in ["0s", "5m0s", "300ms", "1h2m3.5s", "30s", "1.5\u{b5}s", "7ns", "1h0m0s", "1.25ms"] {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), text);
        }
    }
}
