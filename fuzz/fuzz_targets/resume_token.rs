//! The target `resume_token`; what it does is in `src/resume_token.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: linkerd_mcp_fuzz::plant("resume_token", linkerd_mcp_fuzz::resume_token::seeds), |data: &[u8]| {
    linkerd_mcp_fuzz::resume_token::run(data);
});
