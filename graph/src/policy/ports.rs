//! Sets of ports as annotations write them: `25,443,8000-8010`.

use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU16, ops::RangeInclusive, str::FromStr};

/// A set of ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ports(Vec<RangeInclusive<u16>>);

/// Text that is no set of ports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a port from 1 to 65535 nor a rising range such as 8000-8010")]
pub struct ParseError(String);

// === impl Ports ===

impl Ports {
    /// True when the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    /// First and last port of each entry, in the order they were written.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.0.iter().map(|range| (*range.start(), *range.end()))
    }
}

impl FromStr for Ports {
    type Err = ParseError;

    /// One bad entry spoils the whole text. Empty entries and spaces are skipped.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
        entries
            .map(|entry| range(entry).ok_or_else(|| ParseError(entry.trim().to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn range(entry: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.trim().parse::<NonZeroU16>().ok().map(NonZeroU16::get);
    let (first, last) = match entry.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(entry)?, port(entry)?),
    };
    (first <= last).then_some(first..=last)
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Ports {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> Self {
        ports.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_read_and_written() {
        let ports: Ports = " 25, 8000-8010 ,,443".parse().unwrap();
        assert_eq!(ports.to_string(), "25,8000-8010,443");
        assert!(ports.contains(8000) && ports.contains(8010) && ports.contains(443));
        assert!(!ports.contains(8011) && !ports.contains(26));
        assert_eq!("".parse(), Ok(Ports::default()));
    }

    #[test]
    fn one_bad_entry_spoils_the_whole_set() {
        for text in ["80,http", "0", "70000", "9-8", "1-", "-", "80,443;8080"] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }
}
