//! Sentences of bounded length.

use std::fmt::Display;

/// The most things that one text names.
const NAMED: usize = 5;

/// `a`, `a and b`, or `a, b, c, d, e and 7 more`.
pub(crate) fn some<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    joined(all, "and")
}

/// As [`some`], with another word before the last.
pub(super) fn joined<T: Display>(all: impl IntoIterator<Item = T>, word: &str) -> String {
    let mut all = all.into_iter();
    let mut named: Vec<String> = all.by_ref().take(NAMED).map(|one| one.to_string()).collect();
    let more = all.count();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    match named.pop() {
        None => "none".to_owned(),
        Some(last) if named.is_empty() => last,
        Some(last) => format!("{} {word} {last}", named.join(", ")),
    }
}

/// `1 port`, `2 ports`.
pub(crate) fn count(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// `; did you mean a or b?`, or nothing.
pub(super) fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", joined(near, "or")) }
}

/// Ends a sentence, unless a question ends it.
pub(super) fn end(text: String) -> String {
    if text.ends_with(['?', '.']) { text } else { text + "." }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_a_few_and_counts_the_rest() {
        assert_eq!(some(["a"]), "a");
        assert_eq!(some(["a", "b"]), "a and b");
        assert_eq!(some(1..=12), "1, 2, 3, 4, 5 and 7 more");
        assert_eq!(some(Vec::<String>::new()), "none");
        assert_eq!((count(1, "port"), count(2, "port")), ("1 port".to_owned(), "2 ports".to_owned()));
    }
}
