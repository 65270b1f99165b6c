//! What a graph looks like in each format: functions from a `MeshGraph` to text.
//!
//! `table` and `wide` are for people, `json` and `yaml` for programs (one document, two spellings), `dot`, `mermaid`
//! and `svg` are drawings. How fresh the answer is goes to stderr, see [`freshness`]; `json` and `yaml` carry it too.

pub(crate) mod columns;
pub(crate) mod diagram;
pub(crate) mod document;
pub(crate) mod dot;
pub(crate) mod flip;
pub(crate) mod freshness;
pub(crate) mod json;
pub(crate) mod layout;
pub(crate) mod mermaid;
pub(crate) mod number;
pub(crate) mod place;
pub(crate) mod policy;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod wide;
pub(crate) mod yaml;
