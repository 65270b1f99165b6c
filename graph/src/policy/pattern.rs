//! Regular expressions of routes, which must match a whole value.

use serde::{Serialize, Serializer};
use std::str::FromStr;

/// A regular expression. Equal when written equally.
#[derive(Debug, Clone)]
pub struct Pattern(regex::Regex);

// === impl Pattern ===

impl Pattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// True when the first match is all of `text`. As in the proxy, this is not the same as an anchored pattern:
    /// `a|ab` finds `a` in `ab`, and that is not all of it.
    pub fn matches_all_of(&self, text: &str) -> bool {
        self.0.find(text).is_some_and(|found| found.range() == (0..text.len()))
    }
}

impl FromStr for Pattern {
    type Err = regex::Error;

    fn from_str(text: &str) -> Result<Self, regex::Error> {
        text.parse().map(Self)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_value_or_not_at_all() {
        let digits: Pattern = "/item/[0-9]+".parse().unwrap();
        assert!(digits.matches_all_of("/item/42"));
        assert!(!digits.matches_all_of("/item/42/x"));
        assert!(!digits.matches_all_of("/x/item/42"));
        let first: Pattern = "a|ab".parse().unwrap();
        assert!(first.matches_all_of("a"));
        assert!(!first.matches_all_of("ab"));
    }
}
