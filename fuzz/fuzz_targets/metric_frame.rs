//! The target `metric_frame`; what it does is in `src/metric_frame.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: linkerd_mcp_fuzz::plant("metric_frame", linkerd_mcp_fuzz::metric_frame::seeds), |data: &[u8]| {
    linkerd_mcp_fuzz::metric_frame::run(data);
});
