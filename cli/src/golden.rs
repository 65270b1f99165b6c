//! Goldens: what a person reads is compared with a file that a person has read.

use std::{env, fs, path::Path};

/// Compares `actual` with `tests/golden/<name>`. `UPDATE_GOLDEN=1` rewrites the file; what differs is written to
/// `target/golden/<name>`.
pub(crate) fn compare(name: &str, actual: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = root.join("tests/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&golden, actual).expect("the golden can be written");
        return;
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    if expected != actual {
        let target = root.join("../target/golden/cli");
        fs::create_dir_all(&target).expect("target/ can be written");
        let seen = target.join(name);
        fs::write(&seen, actual).expect("target/ can be written");
        panic!("{} differs from {}; UPDATE_GOLDEN=1 accepts it\n{actual}", seen.display(), golden.display());
    }
}
