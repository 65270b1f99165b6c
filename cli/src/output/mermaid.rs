//! Mermaid, as Markdown on GitHub draws it: a subgraph per namespace.

use super::diagram::{self, Line, Shape};
use linkerd_mcp_proto::v1::MeshGraph;
use std::fmt::Write as _;

/// The graph as a Mermaid flowchart.
pub(crate) fn print(graph: &MeshGraph) -> String {
    let diagram = diagram::of(graph);
    let mut out = String::from("graph LR\n");
    for (at, (namespace, boxes)) in diagram.namespaces().into_iter().enumerate() {
        let inside = !namespace.is_empty();
        if inside {
            let _ = writeln!(out, "  subgraph s{at}[\"{}\"]", escaped(namespace));
        }
        for at in boxes {
            let node = &diagram.boxes[at];
            let mut label = escaped(&node.label);
            if !node.remark().is_empty() {
                let _ = write!(label, "<br/>({})", node.remark());
            }
            let (open, close) = match node.shape {
                Shape::Workload => ("[", "]"),
                Shape::Service => ("([", "])"),
                Shape::Outside => ("{{", "}}"),
            };
            let _ = writeln!(out, "    n{at}{open}\"{label}\"{close}");
        }
        if inside {
            out.push_str("  end\n");
        }
    }
    for arrow in &diagram.arrows {
        let line = match arrow.line {
            Line::Mutual => "-->",
            Line::Plain | Line::Unknown => "-.->",
            Line::Denied => "--x",
            Line::Backs => "---",
        };
        let label = match arrow.label.is_empty() {
            true => String::new(),
            false => format!("|\"{}\"|", escaped(&arrow.label)),
        };
        let _ = writeln!(out, "  n{} {line}{label} n{}", arrow.from, arrow.to);
    }
    out
}

/// Text for between double quotes: what Mermaid or the HTML it makes could read as markup becomes an entity.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '\\' | '{' | '}' | '[' | ']' | '|' | ';' | '%' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn the_mermaid_is_as_checked_in() {
        golden::compare("graph.mmd", &print(&sample::graph()));
    }

    #[test]
    fn text_is_never_markup() {
        assert_eq!(escaped("a\"]<b>#1;"), "a#34;#93;#60;b#62;#35;1#59;");
        for line in print(&sample::graph()).lines() {
            assert!(line.matches('"').count() % 2 == 0, "{line}");
        }
    }
}
