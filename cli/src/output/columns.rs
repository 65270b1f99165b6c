//! Plain columns, as `linkerd viz` prints them: no lines, three spaces apart, numbers to the right.

/// Which way a column leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lean {
    Left,
    Right,
}

const GAP: &str = "   ";

/// Lays out `rows` under `header`. What a row has beyond the header follows its last column.
pub(crate) fn print(header: &[(&str, Lean)], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|(title, _)| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles: Vec<String> = header.iter().map(|(title, _)| (*title).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                line.push_str(GAP);
            }
            let width = widths.get(at).copied().unwrap_or_default();
            match header.get(at).map_or(Lean::Left, |(_, lean)| *lean) {
                Lean::Left => line.push_str(&format!("{cell:<width$}")),
                Lean::Right => line.push_str(&format!("{cell:>width$}")),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
