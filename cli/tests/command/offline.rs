//! Questions about policy of manifests: the whole output and the exit code.
