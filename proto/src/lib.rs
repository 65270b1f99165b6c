//! The wire contract of linkerd-mcp: messages of package `mcp.v1`, and gRPC stubs behind the features `client` and
//! `server`. Generated from `proto/mcp/v1/*.proto` by `cargo run -p linkerd-mcp-proto --example gen` and checked in,
//! so that building needs no protoc. No logic lives here but the JSON of some messages, behind the feature `json`.

#[cfg(feature = "json")]
pub mod json;

/// Messages and stubs of `mcp.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_long_first_doc_paragraph,
    reason = "generated from the .proto files, which carry the comments"
)]
pub mod v1 {
    include!("gen/mcp.v1.rs");
}

/// The compiled `FileDescriptorSet` of `mcp.v1`, for gRPC reflection.
#[cfg(feature = "server")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/mcp.v1.bin");
