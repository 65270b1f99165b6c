//! Where the programs are that the tests start.
//!
//! `test/binaries` installs or builds them; see there for how each is obtained.

use std::path::PathBuf;

/// A program is nowhere to be found.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` was not found: run `test/binaries` once, which installs or builds what the tests start")]
pub struct Missing(pub String);

/// Finds a program in `$KUBEBUILDER_ASSETS`, `$LINKERD_MCP_RIG_BIN`, the cache that `test/binaries` fills, or PATH.
pub fn find(program: &str) -> Result<PathBuf, Missing> {
    let named = ["KUBEBUILDER_ASSETS", "LINKERD_MCP_RIG_BIN"].into_iter().filter_map(std::env::var_os);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .map(PathBuf::from)
        .chain(cache())
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| Missing(program.to_string()))
}

fn cache() -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    Some(cache.join("linkerd-mcp/rig/current/bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_together_with_the_remedy() {
        let error = find("no-such-program").unwrap_err().to_string();
        assert_eq!(
            error,
            "`no-such-program` was not found: run `test/binaries` once, which installs or builds what the tests start"
        );
    }
}
