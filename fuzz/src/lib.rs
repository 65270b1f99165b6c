//! Fuzz targets for everything that is read from outside, one module each: `run` takes an input and panics at a
//! finding, `seeds` makes the inputs to begin with from the fixtures of the tests.
//!
//! The first byte of an input often says what the rest is: bytes as they come, or text that the target packs itself.
//! Fuzzers do not get past gzip, zstd and checksums on their own.

pub mod caller;
pub mod delta;
mod mesh;
pub mod metric_frame;
pub mod policy_spec;
pub mod prometheus;
pub mod resume_token;
pub mod snapshot;
pub mod watch_event;

use std::{env, fs, path::Path};

/// Writes the seeds of `target` below the folder that `FUZZ_SEEDS` names, where it is set. libFuzzer calls this before
/// it reads its corpus, so no run begins with seeds of an older form.
///
/// # Panics
/// When they cannot be written.
pub fn plant(target: &str, seeds: fn() -> Vec<Vec<u8>>) {
    let Some(folder) = env::var_os("FUZZ_SEEDS") else { return };
    let folder = Path::new(&folder).join(target);
    fs::create_dir_all(&folder).expect("FUZZ_SEEDS names a folder that can be made");
    for (nth, seed) in seeds().iter().enumerate() {
        fs::write(folder.join(format!("{nth:03}")), seed).expect("a seed can be written");
    }
}

/// The input's first byte, which says what the rest is, and the rest.
fn split(input: &[u8]) -> (u8, &[u8]) {
    input.split_first().map_or((0, &[]), |(first, rest)| (*first, rest))
}

/// A seed: the byte that says what it is, and the rest.
fn seed(form: u8, rest: impl AsRef<[u8]>) -> Vec<u8> {
    [&[form], rest.as_ref()].concat()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_holds() {
        let targets: [(fn() -> Vec<Vec<u8>>, fn(&[u8])); 8] = [
            (crate::caller::seeds, crate::caller::run),
            (crate::delta::seeds, crate::delta::run),
            (crate::metric_frame::seeds, crate::metric_frame::run),
            (crate::policy_spec::seeds, crate::policy_spec::run),
            (crate::prometheus::seeds, crate::prometheus::run),
            (crate::resume_token::seeds, crate::resume_token::run),
            (crate::snapshot::seeds, crate::snapshot::run),
            (crate::watch_event::seeds, crate::watch_event::run),
        ];
        for (seeds, run) in targets {
            seeds().iter().for_each(|seed| run(seed));
        }
    }
}
