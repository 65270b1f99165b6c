//! stdout for data, stderr for talk.

use crate::output::text::clean_line;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// A spinner on stderr while something takes time; nothing when stderr is not a terminal.
pub(crate) struct Spinner(ProgressBar);

/// Writes data to stdout.
///
/// # Errors
/// When stdout cannot be written; [`reader_went_away`] tells the harmless case.
pub(crate) fn data(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// As [`data`], for a command that answers by its exit code: that a reader has gone away changes no answer.
///
/// # Errors
/// When stdout cannot be written for another reason.
pub(crate) fn data_if_read(bytes: &[u8]) -> anyhow::Result<()> {
    match data(bytes) {
        Err(error) if reader_went_away(&error) => Ok(()),
        written => written,
    }
}

/// Says something on stderr. What came from elsewhere in it cannot move the cursor.
pub(crate) fn say(words: &str) {
    let mut stderr = io::stderr().lock();
    for line in words.lines() {
        // A closed stderr is no reason to stop answering.
        let _ = writeln!(stderr, "{}", clean_line(line));
    }
}

/// True when stdout is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// How many lines the terminal has.
pub(crate) fn height() -> usize {
    usize::from(console::Term::stdout().size().0)
}

/// True when `error` says that whoever read our output closed it, as `head` does.
pub(crate) fn reader_went_away(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

// === impl Spinner ===

impl Spinner {
    /// Starts it with a message.
    pub(crate) fn start(message: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        bar.set_message(clean_line(message));
        Self(bar)
    }

    /// Replaces the message.
    pub(crate) fn say(&self, message: &str) {
        self.0.set_message(clean_line(message));
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
