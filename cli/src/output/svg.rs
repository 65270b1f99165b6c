//! A drawing that any browser opens, made without tools from outside. Callers left, callees right.
//!
//! Colour is never the only mark: what is not mutual TLS is dashed and says so, what is denied ends in a cross.

use super::{
    diagram::{self, Arrow, Box, Line, Shape},
    layout::{self, Layout, Rectangle, Sketch},
};
use linkerd_mcp_proto::v1::MeshGraph;
use std::{collections::BTreeMap, fmt::Write as _};

const LEGEND_HEIGHT: f64 = 40.0;
const LEAST_WIDTH: f64 = 640.0;
/// In characters. Names of Kubernetes may have 253.
const LONGEST_CAPTION: usize = 44;
/// Between the labels of arrows that join the same two boxes.
const LABEL_STEP: f64 = 13.0;

const STYLE: &str = "\
text{font-family:ui-sans-serif,system-ui,sans-serif;font-size:12px;fill:#111827}\
.ns{font-size:9px;fill:#6b7280}\
.arrow text,.legend text{font-size:10px}\
.arrow text{paint-order:stroke;stroke:#ffffff;stroke-width:4px;text-anchor:middle}\
path{fill:none;stroke-width:1.5}\
.mutual path{stroke:#1a7f4b}\
.plain path{stroke:#b45309;stroke-dasharray:6 4}\
.unknown path{stroke:#6b7280;stroke-dasharray:1.5 3}\
.denied path{stroke:#b91c1c;stroke-width:2}\
.backs path{stroke:#9ca3af;stroke-width:0.8}\
rect,ellipse{fill:#ffffff;stroke:#374151}\
.service rect{fill:#eef2ff}\
.outside rect{fill:#f3f4f6;stroke-dasharray:2 3}\
.bare rect{stroke:#b45309;stroke-dasharray:6 4}\
.background{fill:#ffffff;stroke:none}\
marker path{stroke:none}";

/// The arrow heads: name, colour, shape.
const HEADS: [(&str, &str, &str); 4] = [
    ("mutual", "#1a7f4b", "M0 0L8 4L0 8z"),
    ("plain", "#b45309", "M0 0L8 4L0 8z"),
    ("unknown", "#6b7280", "M0 0L8 4L0 8z"),
    ("denied", "#b91c1c", "M0 1L1 0L4 3L7 0L8 1L5 4L8 7L7 8L4 5L1 8L0 7L3 4z"),
];

/// The graph as an SVG document.
pub(crate) fn print(graph: &MeshGraph) -> String {
    let diagram = diagram::of(graph);
    let sketch = Sketch {
        boxes: diagram.boxes.iter().map(|node| caption(node).len().max(remark(node).len())).collect(),
        lines: diagram.arrows.iter().map(|arrow| (arrow.from, arrow.to, arrow.label.len())).collect(),
    };
    let layout = layout::place(&sketch);
    // Curves between boxes of one column hang below it.
    let (width, height) = (layout.width.max(LEAST_WIDTH), layout.height + LEGEND_HEIGHT + 24.0);
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 \
         {width:.0} {height:.0}\" role=\"img\">\n<title>Who calls whom in the mesh</title>\n<style>{STYLE}</style>\n\
         <defs>\n"
    );
    for (name, colour, shape) in HEADS {
        let _ = writeln!(
            out,
            "<marker id=\"{name}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             orient=\"auto\" markerUnits=\"userSpaceOnUse\"><path d=\"{shape}\" style=\"fill:{colour}\"/></marker>"
        );
    }
    out.push_str("</defs>\n");
    let _ = writeln!(out, "<rect class=\"background\" width=\"100%\" height=\"100%\"/>");
    arrows(&diagram.arrows, &layout, &mut out);
    for (node, place) in diagram.boxes.iter().zip(&layout.boxes) {
        draw_box(node, place, &mut out);
    }
    legend(height - LEGEND_HEIGHT, &mut out);
    out.push_str("</svg>\n");
    out
}

/// The name, shortened in the middle where it would make its column too wide. The whole is in the box's title.
fn caption(node: &Box) -> String {
    let label = &node.label;
    if label.len() <= LONGEST_CAPTION {
        return label.clone();
    }
    let half = LONGEST_CAPTION / 2 - 1;
    let shortened = label.get(..half).zip(label.get(label.len() - half..));
    shortened.map_or_else(|| label.clone(), |(start, end)| format!("{start}..{end}"))
}

/// The second line of a box.
fn remark(node: &Box) -> String {
    match (node.namespace.as_str(), node.remark()) {
        (namespace, "") => namespace.to_owned(),
        (namespace, remark) => format!("{namespace} · {remark}"),
    }
}

fn draw_box(node: &Box, place: &Rectangle, out: &mut String) {
    let class = match (node.shape, node.remark()) {
        (Shape::Service, _) => "service",
        (Shape::Outside, _) => "outside",
        (Shape::Workload, "") => "workload",
        (Shape::Workload, _) => "bare",
    };
    let round = if node.shape == Shape::Service { place.height / 2.0 } else { 5.0 };
    let middle = place.x + place.width / 2.0;
    let _ = writeln!(
        out,
        "<g class=\"{class}\"><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round:.1}\"/>\
         <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"ns\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>",
        escaped(&node.label),
        place.x,
        place.y,
        place.width,
        place.height,
        place.y + 15.0,
        escaped(&caption(node)),
        place.y + 27.0,
        escaped(&remark(node)),
    );
}

fn arrows(arrows: &[Arrow], layout: &Layout, out: &mut String) {
    let mut between: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    for (arrow, passes) in arrows.iter().zip(&layout.passes) {
        let nth = between.entry((arrow.from, arrow.to)).or_default();
        let ends = (&layout.boxes[arrow.from], &layout.boxes[arrow.to]);
        let (path, x, y) = curve(ends, passes, f64::from(*nth));
        *nth += 1;
        let class = class(arrow.line);
        let head = match arrow.line {
            Line::Backs => String::new(),
            _ => format!(" marker-end=\"url(#{class})\""),
        };
        let _ = write!(out, "<g class=\"arrow {class}\"><path d=\"{path}\"{head}/>");
        if !arrow.label.is_empty() {
            let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(&arrow.label));
        }
        out.push_str("</g>\n");
    }
}

/// The `nth` curve from one box to another, and where its label goes.
fn curve((from, to): (&Rectangle, &Rectangle), passes: &[(f64, f64)], nth: f64) -> (String, f64, f64) {
    let bend = nth * LABEL_STEP;
    if to.column <= from.column {
        // Back to the left, or to itself: around below.
        let (x1, y1) = (from.x + from.width * 0.65, from.y + from.height);
        let (x2, y2) = (to.x + to.width * 0.35, to.y + to.height);
        let low = y1.max(y2) + 26.0 + bend;
        let path = format!("M{x1:.1} {y1:.1}C{x1:.1} {low:.1} {x2:.1} {low:.1} {x2:.1} {y2:.1}");
        return (path, f64::midpoint(x1, x2), low - 6.0);
    }
    let (mut x, mut y) = (from.x + from.width, from.y + from.height / 2.0);
    let end = (to.x, to.y + to.height / 2.0);
    let mut path = format!("M{x:.1} {y:.1}");
    let mut label = None;
    for &(x2, y2) in passes.iter().chain([&end]) {
        let middle = f64::midpoint(x, x2);
        let (leave, arrive) = (y + bend, y2 + bend);
        let _ = write!(path, "C{middle:.1} {leave:.1} {middle:.1} {arrive:.1} {x2:.1} {y2:.1}");
        label.get_or_insert((middle, f64::midpoint(y, y2) - 3.0 + bend));
        (x, y) = (x2, y2);
    }
    let (label_x, label_y) = label.unwrap_or((x, y));
    (path, label_x, label_y)
}

fn class(line: Line) -> &'static str {
    match line {
        Line::Mutual => "mutual",
        Line::Plain => "plain",
        Line::Unknown => "unknown",
        Line::Denied => "denied",
        Line::Backs => "backs",
    }
}

fn legend(y: f64, out: &mut String) {
    let entries = [
        (Line::Mutual, "mTLS"),
        (Line::Plain, "not all mTLS"),
        (Line::Unknown, "mTLS not known"),
        (Line::Denied, "denied"),
        (Line::Backs, "answered by"),
    ];
    out.push_str("<g class=\"legend\">\n");
    let mut x = 24.0;
    for (line, meaning) in entries {
        let class = class(line);
        let head = if line == Line::Backs { String::new() } else { format!(" marker-end=\"url(#{class})\"") };
        let _ = writeln!(
            out,
            "<g class=\"{class}\"><path d=\"M{x:.0} {:.0}h34\"{head}/><text x=\"{:.0}\" y=\"{:.0}\">{meaning}</text></g>",
            y + 16.0,
            x + 40.0,
            y + 20.0,
        );
        x += 120.0;
    }
    out.push_str("</g>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{golden, sample};

    #[test]
    fn the_svg_is_as_checked_in_and_is_xml() {
        let svg = print(&sample::graph());
        golden::compare("graph.svg", &svg);
        let document = roxmltree::Document::parse(&svg).unwrap();
        let texts: Vec<_> = document.descendants().filter_map(|node| node.text()).collect();
        let label = "x".repeat(300);
        let node = Box { label, namespace: String::new(), shape: Shape::Workload, meshed: None };
        assert_eq!(caption(&node).len(), LONGEST_CAPTION);
        assert!(texts.contains(&"deploy/vote-bot"), "{texts:?}");
        let elements =
            document.descendants().filter(|node| node.is_element()).map(|node| node.tag_name().name());
        assert!(elements.into_iter().all(|name| {
            ["svg", "title", "style", "defs", "marker", "path", "rect", "g", "text"].contains(&name)
        }));
    }

    #[test]
    fn an_empty_mesh_is_an_empty_drawing() {
        roxmltree::Document::parse(&print(&MeshGraph::default())).unwrap();
    }
}
