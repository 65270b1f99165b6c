//! The target `delta`; what it does is in `src/delta.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: linkerd_mcp_fuzz::plant("delta", linkerd_mcp_fuzz::delta::seeds), |data: &[u8]| {
    linkerd_mcp_fuzz::delta::run(data);
});
