//! Lists that stay short however long their names are.

use crate::mcp::text::data;
use serde::Serialize;
use serde_json::{Value, json};

/// The most bytes of one list, as JSON.
const BYTES: usize = 2_500;

/// The first of a list, how many there are, and how many are left out.
pub(crate) fn few<T, R: Serialize>(
    items: impl IntoIterator<Item = T>,
    total: usize,
    row: impl Fn(T) -> R,
) -> Value {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for item in items {
        let row = serde_json::to_value(row(item)).unwrap_or_default();
        bytes += row.to_string().len() + 1;
        if bytes > BYTES {
            break;
        }
        rows.push(row);
    }
    let mut list = json!({"total": total});
    if total > rows.len() {
        list["more"] = (total - rows.len()).into();
    }
    list["items"] = rows.into();
    list
}

/// The first of a list of ids.
pub(super) fn ids<T: ToString>(items: &[T]) -> Value {
    few(items, items.len(), |it| data(&it.to_string()))
}

/// `value` with every text in it made safe to show, cut until it takes at most `bytes` as JSON; true when it was cut.
pub(crate) fn shown(value: &Value, bytes: usize) -> (Value, bool) {
    for items in [100, 20, 5, 1] {
        let mut cut = items < 100;
        let shown = walk(value, items, 0, &mut cut);
        if shown.to_string().len() <= bytes {
            return (shown, cut);
        }
    }
    (Value::Null, true)
}

/// Deeper than anything that Kubernetes or a tool of ours has.
const DEPTH: usize = 24;

fn walk(value: &Value, items: usize, depth: usize, cut: &mut bool) -> Value {
    let many = |len: usize| len > items;
    match value {
        Value::Array(_) | Value::Object(_) if depth == DEPTH => {
            *cut = true;
            Value::Null
        }
        Value::Array(list) => {
            *cut |= many(list.len());
            list.iter().take(items).map(|it| walk(it, items, depth + 1, cut)).collect()
        }
        Value::Object(map) => {
            *cut |= many(map.len());
            let shown = map.iter().take(items);
            shown.map(|(name, it)| (data(name), walk(it, items, depth + 1, cut))).collect()
        }
        Value::String(text) => {
            let shown = data(text);
            *cut |= text.chars().count() > 256;
            Value::String(shown)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_many_are_left_out() {
        assert_eq!(ids(&["a", "b"]), json!({"total": 2, "items": ["a", "b"]}));
        let long = vec!["x".repeat(200); 30];
        let list = ids(&long);
        assert_eq!((&list["total"], &list["more"]), (&json!(30), &json!(18)));
        assert!(list.to_string().len() < BYTES + 100);
    }

    #[test]
    fn values_are_made_safe_everywhere_and_cut_until_they_fit() {
        let hostile = json!({"a\u{1b}": ["b\u{202e}", {"c": 1}]});
        let safe = json!({"a\\u{1b}": ["b\\u{202e}", {"c": 1}]});
        assert_eq!(shown(&hostile, 1_000), (safe, false));
        let wide = json!({"list": vec!["x".repeat(100); 500]});
        let (value, cut) = shown(&wide, 3_000);
        assert!(cut && value.to_string().len() <= 3_000 && value["list"].as_array().unwrap().len() == 20);
        let mut deep = json!(1);
        for _ in 0..60 {
            deep = json!([deep]);
        }
        assert!(shown(&deep, 3_000).1);
        assert_eq!(shown(&json!(vec!["x".repeat(200); 1]), 10), (Value::Null, true));
    }
}
