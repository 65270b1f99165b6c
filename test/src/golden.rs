//! Comparing text that people read with a file they review.

use std::path::{Path, PathBuf};

/// Compares `actual` with `test/golden/<file>`.
///
/// On a mismatch the actual text lands in `target/golden/<file>` and the test fails; with `UPDATE_GOLDEN=1` the golden
/// file is rewritten instead, which a reviewer then sees in the diff.
#[track_caller]
pub fn check(file: &str, actual: &str) {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let verdict = compare(&root.join("golden").join(file), &target(root).join(file), actual, update);
    if let Err(complaint) = verdict {
        panic!("{complaint}");
    }
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("../target"), PathBuf::from).join("golden")
}

fn compare(golden: &Path, mismatch: &Path, actual: &str, update: bool) -> Result<(), String> {
    let expected = std::fs::read_to_string(golden).ok();
    if expected.as_deref() == Some(actual) {
        return Ok(());
    }
    let written = if update { golden } else { mismatch };
    if let Some(dir) = written.parent() {
        std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    }
    std::fs::write(written, actual).map_err(|error| format!("{}: {error}", written.display()))?;
    if update {
        return Ok(());
    }
    let (golden, written) = (golden.display(), written.display());
    match expected {
        None => Err(format!("{golden} does not exist; UPDATE_GOLDEN=1 makes it from {written}")),
        Some(expected) => Err(format!(
            "{golden} differs{}\nsee diff {golden} {written}; UPDATE_GOLDEN=1 accepts the new text",
            first_difference(&expected, actual)
        )),
    }
}

fn first_difference(expected: &str, actual: &str) -> String {
    let (mut expected, mut actual) = (expected.lines(), actual.lines());
    for n in 1.. {
        match (expected.next(), actual.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                return format!(
                    " from line {n}:\n- {}\n+ {}",
                    a.unwrap_or("(end of file)"),
                    b.unwrap_or("(end of text)")
                );
            }
        }
    }
    " in line ends only".to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_is_shown_written_aside_and_leaves_the_golden_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (golden, mismatch) = (dir.path().join("g"), dir.path().join("target/m"));
        std::fs::write(&golden, "one\ntwo\n").unwrap();
        let complaint = compare(&golden, &mismatch, "one\nthree\n", false).unwrap_err();
        assert!(complaint.contains("from line 2:\n- two\n+ three"), "{complaint}");
        assert_eq!(std::fs::read_to_string(&golden).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&mismatch).unwrap(), "one\nthree\n");
    }

    #[test]
    fn an_update_rewrites_the_golden_and_then_it_matches() {
        let dir = tempfile::tempdir().unwrap();
        let (golden, mismatch) = (dir.path().join("new/g"), dir.path().join("m"));
        assert_eq!(compare(&golden, &mismatch, "text\n", true), Ok(()));
        assert_eq!(compare(&golden, &mismatch, "text\n", false), Ok(()));
        assert!(!mismatch.exists());
    }
}
