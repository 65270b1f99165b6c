//! JSON: the document of [`super::document`].

use super::{
    document::{self, Node},
    text::clean_json,
};
use linkerd_mcp_proto::v1::MeshGraph;

/// The graph as indented JSON.
pub(crate) fn print(graph: &MeshGraph) -> String {
    let json = serde_json::to_string_pretty(&document::graph(graph));
    format!("{}\n", clean_json(&json.expect("a document has text keys and finite numbers")))
}

/// A document on one line.
pub(crate) fn line(document: &Node) -> String {
    let json = serde_json::to_string(document);
    format!("{}\n", clean_json(&json.expect("a document has text keys and finite numbers")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn the_json_is_as_checked_in_and_is_json() {
        let json = print(&sample::graph());
        golden::compare("graph.json", &json);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let edge = &value["edges"]["emojivoto/deployment/web->emojivoto/voting-svc:8080"];
        assert_eq!((&edge["rps"], &edge["tls"]), (&123.4.into(), &true.into()));
        assert!(value["authPolicies"]["emojivoto/voting"]["spec"].is_object());
    }

    #[test]
    fn an_unknown_number_is_absent_and_not_null_or_zero() {
        let json = print(&sample::graph());
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let tcp = &value["edges"]["shop/deployment/cart->shop/db:5432"];
        assert_eq!((tcp.get("rps"), tcp["tcp"].get("bytes_received_per_s")), (None, None));
        assert!(!json.contains("null"));
    }
}
