//! The target `prometheus`; what it does is in `src/prometheus.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: linkerd_mcp_fuzz::plant("prometheus", linkerd_mcp_fuzz::prometheus::seeds), |data: &[u8]| {
    linkerd_mcp_fuzz::prometheus::run(data);
});
