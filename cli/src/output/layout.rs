//! Where boxes go: in columns by the longest way from a caller that nobody calls, in each column near what they are
//! connected to. A small layered layout without tools from outside; linear but for the sorting.

/// Sweeps of sorting each column by its neighbours; more bring little.
const SWEEPS: usize = 6;
/// Width in pixels of a character of a box's label, on the generous side.
const BOX_CHARACTER: f64 = 7.6;
/// The same of an arrow's label.
const ARROW_CHARACTER: f64 = 6.2;
const BOX_HEIGHT: f64 = 34.0;
const ROW_GAP: f64 = 22.0;
const LEAST_COLUMN_GAP: f64 = 70.0;
const MARGIN: f64 = 24.0;
/// Beyond so many places where lines pass columns, lines go straight: nobody reads that drawing line by line.
const MOST_PASSES: usize = 20_000;

/// What is to be laid out: boxes by the length of their text, lines between them by theirs.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    pub(crate) boxes: Vec<usize>,
    /// From, to, length of the label.
    pub(crate) lines: Vec<(usize, usize, usize)>,
}

/// Where each box is, and how large the whole is, in pixels.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Layout {
    pub(crate) boxes: Vec<Rectangle>,
    /// For each line, where it passes the columns between its ends, so that it does not run through their boxes.
    pub(crate) passes: Vec<Vec<(f64, f64)>>,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// Left upper corner, size, and the column it is in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rectangle {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) column: usize,
}

/// Lays out the sketch.
pub(crate) fn place(sketch: &Sketch) -> Layout {
    let real = sketch.boxes.len();
    let (sketch, column, passed) = with_passes(sketch, columns(sketch));
    let count = column.iter().max().map_or(0, |last| last + 1);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (at, column) in column.iter().enumerate() {
        rows[*column].push(at);
    }
    sort_by_neighbours(&sketch, &mut rows);
    let mut layout = coordinates(&sketch, real, &column, &rows);
    let middle = |at: &usize| {
        let place = &layout.boxes[*at];
        (place.x, place.y + place.height / 2.0)
    };
    layout.passes = passed.iter().map(|passed| passed.iter().map(middle).collect()).collect();
    layout.boxes.truncate(real);
    layout
}

/// Puts a place without width into every column that a line passes, and cuts the line there. Returns the places of
/// each line too.
fn with_passes(sketch: &Sketch, mut column: Vec<usize>) -> (Sketch, Vec<usize>, Vec<Vec<usize>>) {
    let mut boxes = sketch.boxes.clone();
    let mut lines = Vec::with_capacity(sketch.lines.len());
    let mut passed = vec![Vec::new(); sketch.lines.len()];
    for (&(from, to, label), passed) in sketch.lines.iter().zip(&mut passed) {
        let mut before = from;
        for between in column[from] + 1..column[to] {
            if boxes.len() - sketch.boxes.len() >= MOST_PASSES {
                break;
            }
            boxes.push(0);
            column.push(between);
            let at = boxes.len() - 1;
            lines.push((before, at, if before == from { label } else { 0 }));
            passed.push(at);
            before = at;
        }
        lines.push((before, to, if before == from { label } else { 0 }));
    }
    (Sketch { boxes, lines }, column, passed)
}

/// The column of each box: one more than the rightmost of those that lead to it. Lines that close a circle are left
/// out.
fn columns(sketch: &Sketch) -> Vec<usize> {
    let forward = without_circles(sketch);
    let mut incoming = vec![0_usize; sketch.boxes.len()];
    for targets in &forward {
        for to in targets {
            incoming[*to] += 1;
        }
    }
    let mut column = vec![0; sketch.boxes.len()];
    let mut ready: Vec<usize> = (0..sketch.boxes.len()).filter(|at| incoming[*at] == 0).collect();
    while let Some(from) = ready.pop() {
        for &to in &forward[from] {
            column[to] = column[to].max(column[from] + 1);
            incoming[to] -= 1;
            if incoming[to] == 0 {
                ready.push(to);
            }
        }
    }
    column
}

/// The lines of each box, without those that lead back to where a walk came from. Boxes that nobody calls start
/// first, so that a circle is cut where it is entered.
fn without_circles(sketch: &Sketch) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let count = sketch.boxes.len();
    let mut targets: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut called = vec![false; count];
    for &(from, to, _) in &sketch.lines {
        if from != to {
            targets[from].push(to);
            called[to] = true;
        }
    }
    let mut kept: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut state = vec![State::New; count];
    let mut starts: Vec<usize> = (0..count).collect();
    starts.sort_by_key(|at| called[*at]);
    for start in starts {
        if state[start] != State::New {
            continue;
        }
        state[start] = State::Open;
        // A walk of its own stack: a chain of calls may be longer than the thread's stack is deep.
        let mut path = vec![(start, 0)];
        while let Some((from, next)) = path.last_mut() {
            let Some(&to) = targets[*from].get(*next) else {
                state[*from] = State::Done;
                path.pop();
                continue;
            };
            *next += 1;
            if state[to] != State::Open {
                kept[*from].push(to);
            }
            if state[to] == State::New {
                state[to] = State::Open;
                path.push((to, 0));
            }
        }
    }
    kept
}

/// Moves the boxes of each column next to what they are connected to, left to right and back.
fn sort_by_neighbours(sketch: &Sketch, rows: &mut [Vec<usize>]) {
    let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); sketch.boxes.len()];
    for &(from, to, _) in &sketch.lines {
        neighbours[from].push(to);
        neighbours[to].push(from);
    }
    let mut row = vec![0.0; sketch.boxes.len()];
    for sweep in 0..SWEEPS {
        for step in 0..rows.len() {
            let column = if sweep % 2 == 0 { step } else { rows.len() - 1 - step };
            let boxes = &mut rows[column];
            let mut wished: Vec<(f64, usize)> = boxes
                .iter()
                .map(|at| {
                    let around = &neighbours[*at];
                    let sum: f64 = around.iter().map(|neighbour| row[*neighbour]).sum();
                    (if around.is_empty() { row[*at] } else { sum / length(around.len()) }, *at)
                })
                .collect();
            wished.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            *boxes = wished.into_iter().map(|(_, at)| at).collect();
            // Counted from the middle, as the columns are centred.
            let middle = length(boxes.len()) / 2.0;
            for (place, at) in boxes.iter().enumerate() {
                row[*at] = length(place) - middle;
            }
        }
    }
}

fn coordinates(sketch: &Sketch, real: usize, column: &[usize], rows: &[Vec<usize>]) -> Layout {
    let width_of = |at: usize| if at < real { box_width(sketch.boxes[at]) } else { 0.0 };
    let step = BOX_HEIGHT + ROW_GAP;
    let most = rows.iter().map(Vec::len).max().unwrap_or_default();
    let height = length(most) * step - ROW_GAP + 2.0 * MARGIN;
    let mut gaps = vec![LEAST_COLUMN_GAP; rows.len()];
    for &(from, to, characters) in &sketch.lines {
        if column[to] == column[from] + 1 {
            let wanted = length(characters) * ARROW_CHARACTER + 40.0;
            gaps[column[from]] = gaps[column[from]].max(wanted);
        }
    }
    let mut boxes = vec![Rectangle::default(); sketch.boxes.len()];
    let mut x = MARGIN;
    for (at_column, members) in rows.iter().enumerate() {
        let widest = members.iter().map(|at| width_of(*at)).fold(0.0, f64::max);
        let top = (height - (length(members.len()) * step - ROW_GAP)) / 2.0;
        for (place, at) in members.iter().enumerate() {
            let width = width_of(*at);
            boxes[*at] = Rectangle {
                x: x + (widest - width) / 2.0,
                y: top + length(place) * step,
                width,
                height: BOX_HEIGHT,
                column: at_column,
            };
        }
        x += widest + gaps[at_column];
    }
    let width = boxes.iter().map(|place| place.x + place.width).fold(0.0, f64::max) + MARGIN;
    Layout { boxes, passes: Vec::new(), width, height: if most == 0 { 2.0 * MARGIN } else { height } }
}

fn box_width(characters: usize) -> f64 {
    length(characters) * BOX_CHARACTER + 24.0
}

/// A count as a length; counts here are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts of boxes and characters")]
fn length(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_sketch(boxes: usize, lines: &[(usize, usize)]) -> Sketch {
        let lines = lines.iter().map(|(from, to)| (*from, *to, 8)).collect();
        Sketch { boxes: vec![10; boxes], lines }
    }

    #[test]
    fn a_box_stands_right_of_everything_that_leads_to_it() {
        let layout = place(&mk_sketch(4, &[(0, 1), (1, 2), (0, 2), (3, 2)]));
        let columns: Vec<_> = layout.boxes.iter().map(|place| place.column).collect();
        assert_eq!(columns, [0, 1, 2, 0]);
    }

    #[test]
    fn a_circle_and_a_call_to_oneself_end() {
        let layout = place(&mk_sketch(4, &[(3, 0), (0, 1), (1, 2), (2, 0), (1, 1)]));
        let columns: Vec<_> = layout.boxes.iter().map(|place| place.column).collect();
        assert_eq!(columns, [1, 2, 3, 0]);
    }

    #[test]
    fn boxes_do_not_overlap() {
        let lines: Vec<_> = (0..40).map(|at| (at % 7, 7 + at % 13)).collect();
        let layout = place(&mk_sketch(20, &lines));
        for (at, a) in layout.boxes.iter().enumerate() {
            for b in &layout.boxes[at + 1..] {
                let apart = a.x + a.width <= b.x
                    || b.x + b.width <= a.x
                    || a.y + a.height <= b.y
                    || b.y + b.height <= a.y;
                assert!(apart, "{a:?} {b:?}");
            }
            assert!(a.x + a.width <= layout.width && a.y + a.height <= layout.height);
        }
    }

    #[test]
    fn a_line_over_several_columns_runs_through_no_box() {
        let layout = place(&mk_sketch(6, &[(0, 1), (1, 2), (2, 3), (0, 3), (4, 1), (5, 2)]));
        assert_eq!(layout.passes[3].len(), 2);
        for (x, y) in &layout.passes[3] {
            let inside = |place: &Rectangle| {
                (place.x..place.x + place.width).contains(x) && (place.y..place.y + place.height).contains(y)
            };
            assert!(!layout.boxes.iter().any(inside), "{x} {y} {:?}", layout.boxes);
        }
    }

    #[test]
    fn a_chain_deeper_than_any_stack_is_laid_out() {
        let lines: Vec<_> = (0..99_999).map(|at| (at, at + 1)).collect();
        assert_eq!(place(&mk_sketch(100_000, &lines)).boxes[99_999].column, 99_999);
    }

    #[test]
    fn nothing_is_laid_out_as_nothing() {
        assert_eq!(place(&Sketch::default()).boxes, []);
    }
}
