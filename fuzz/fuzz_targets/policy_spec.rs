//! The target `policy_spec`; what it does is in `src/policy_spec.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: linkerd_mcp_fuzz::plant("policy_spec", linkerd_mcp_fuzz::policy_spec::seeds), |data: &[u8]| {
    linkerd_mcp_fuzz::policy_spec::run(data);
});
