//! An error with its causes, for a log line or an answer.

/// The error and each of its causes on one line, joined by colons. Our errors do not repeat their source in their own
/// text, so nothing is said twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
