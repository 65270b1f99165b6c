//! Graphviz: a cluster per namespace.

use super::diagram::{self, Line, Shape};
use linkerd_mcp_proto::v1::MeshGraph;
use std::fmt::Write as _;

/// The graph in the DOT language.
pub(crate) fn print(graph: &MeshGraph) -> String {
    let diagram = diagram::of(graph);
    let mut out = String::from(
        "digraph mesh {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", style=\"rounded,filled\", \
         fillcolor=white];\n  edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    for (at, (namespace, boxes)) in diagram.namespaces().into_iter().enumerate() {
        let inside = !namespace.is_empty();
        if inside {
            let _ = write!(out, "  subgraph cluster_{at} {{\n    label={};\n", quoted(namespace));
        }
        for at in boxes {
            let node = &diagram.boxes[at];
            let mut label = node.label.clone();
            if !node.remark().is_empty() {
                let _ = write!(label, "\n({})", node.remark());
            }
            let shape = match node.shape {
                Shape::Workload => "box",
                Shape::Service => "ellipse",
                Shape::Outside => "note",
            };
            let unmeshed = if node.remark().is_empty() { "" } else { ", style=\"rounded,dashed\"" };
            let _ = writeln!(out, "    n{at} [label={}, shape={shape}{unmeshed}];", quoted(&label));
        }
        if inside {
            out.push_str("  }\n");
        }
    }
    for arrow in &diagram.arrows {
        let style = match arrow.line {
            Line::Mutual => "color=\"#1a7f4b\"",
            Line::Plain => "color=\"#b45309\", style=dashed",
            Line::Unknown => "color=\"#6b7280\", style=dotted",
            Line::Denied => "color=\"#b91c1c\", style=bold, arrowhead=tee",
            Line::Backs => "color=\"#9ca3af\", arrowhead=none, penwidth=0.7",
        };
        let label = match arrow.label.is_empty() {
            true => String::new(),
            false => format!("label={}, ", quoted(&arrow.label)),
        };
        let _ = writeln!(out, "  n{} -> n{} [{label}{style}];", arrow.from, arrow.to);
    }
    out.push_str("}\n");
    out
}

/// A DOT string. A backslash begins an escape in labels, so it is doubled.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn the_dot_is_as_checked_in() {
        golden::compare("graph.dot", &print(&sample::graph()));
    }

    #[test]
    fn a_name_cannot_end_its_string() {
        assert_eq!(quoted("a\"];b\\"), "\"a\\\"];b\\\\\"");
        for line in print(&sample::graph()).lines() {
            let mut inside = false;
            let mut escaped = false;
            for c in line.chars() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' if inside => escaped = true,
                    '"' => inside = !inside,
                    _ => {}
                }
            }
            assert!(!inside, "{line}");
        }
    }
}
