//! The target `caller`; what it does is in `src/caller.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: linkerd_mcp_fuzz::plant("caller", linkerd_mcp_fuzz::caller::seeds), |data: &[u8]| {
    linkerd_mcp_fuzz::caller::run(data);
});
