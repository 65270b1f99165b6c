//! Go templates, as far as charts need them: text with actions in `{{ }}`, named templates, and the functions that Helm
//! adds. The crates for this copy maps where Go shares them, so `set` changes nothing, and cannot call a named
//! template from a function as `include` does.
//!
//! ```text
//! text ── lex ──> tokens ── parse ──> nodes ── eval (with func) ──> text
//! ```

mod eval;
mod func;
mod lex;
mod parse;
pub(crate) mod value;

use std::collections::BTreeMap;
pub(crate) use value::Value;

/// Why a template does not render.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It is no template.
    #[error("{file}:{line}: {problem}")]
    Syntax { file: String, line: usize, problem: String },
    /// It makes no sense of the values.
    #[error("{place}: {problem}")]
    Evaluation { place: String, problem: String },
    /// The author's own refusal, by `fail`.
    #[error("{0}")]
    Refused(String),
}

/// Templates that know each other by name.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    /// What `define` defined, from every file.
    named: BTreeMap<String, Vec<parse::Node>>,
    /// What is outside of every `define`, by file.
    files: BTreeMap<String, Vec<parse::Node>>,
}

// === impl Templates ===

impl Templates {
    /// Adds a file and what it defines.
    ///
    /// # Errors
    /// [`Error::Syntax`] when it is no template.
    pub(crate) fn add(&mut self, file: &str, text: &str) -> Result<(), Error> {
        let syntax =
            |(line, problem): (usize, String)| Error::Syntax { file: file.to_owned(), line, problem };
        let parsed = parse::parse(lex::lex(text).map_err(syntax)?).map_err(syntax)?;
        self.named.extend(parsed.named);
        self.files.insert(file.to_owned(), parsed.body);
        Ok(())
    }

    /// Renders a file with `.` and `$` being `root`.
    ///
    /// # Errors
    /// [`Error::Evaluation`] when the values do not fit, [`Error::Refused`] when it calls `fail`.
    pub(crate) fn render(&self, file: &str, root: &Value) -> Result<String, Error> {
        let body = self.files.get(file).map(Vec::as_slice).unwrap_or_default();
        eval::render(self, file, body, root)
    }
}

#[cfg(test)]
mod tests;
