//! The target `watch_event`; what it does is in `src/watch_event.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: linkerd_mcp_fuzz::plant("watch_event", linkerd_mcp_fuzz::watch_event::seeds), |data: &[u8]| {
    linkerd_mcp_fuzz::watch_event::run(data);
});
