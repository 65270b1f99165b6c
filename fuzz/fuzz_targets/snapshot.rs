//! The target `snapshot`; what it does is in `src/snapshot.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: linkerd_mcp_fuzz::plant("snapshot", linkerd_mcp_fuzz::snapshot::seeds), |data: &[u8]| {
    linkerd_mcp_fuzz::snapshot::run(data);
});
