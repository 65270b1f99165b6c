//! How an object differs before and after: as lines of YAML for people, and as the paths of fields for programs.

use super::{Edit, edit::Verb};
use crate::{fact::PolicyObject, id::PolicyId, policy::flip};
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use std::fmt::Write;

/// The most lines of a difference that are shown.
pub const MOST_LINES: usize = 400;
/// The most lines of each side that are held against each other: the time grows with the product of their differences.
const MOST_COMPARED: usize = 4_000;
/// The most fields that are listed.
pub const MOST_FIELDS: usize = 200;
/// Lines around each change.
const CONTEXT: usize = 3;

/// How an object differs before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The object.
    pub id: PolicyId,
    /// What happens to it.
    pub verb: Verb,
    /// Lines of YAML: those that go begin with `-`, those that come with `+`, the others with a space; `@@` lines stand
    /// between parts that are not next to each other. Empty when nothing differs.
    pub text: String,
    /// Lines of it that were left out.
    pub left_out: usize,
    /// Lines that come, all of them.
    pub added: usize,
    /// Lines that go, all of them.
    pub removed: usize,
    /// The fields that differ, in the order of the document.
    pub fields: Vec<FieldChange>,
    /// Fields that were left out.
    pub fields_left_out: usize,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Its path, as in `spec.identities[2]`.
    pub path: String,
    /// What it was; absent when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it becomes; absent when it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// How the object of an edit differs before and after.
pub fn diff(edit: &Edit) -> Diff {
    let side = |object: &Option<std::sync::Arc<PolicyObject>>| object.as_deref().map(flip::manifest);
    let (before, after) = (side(&edit.before), side(&edit.after));
    let mut fields = Vec::new();
    let mut count = 0;
    match (&before, &after) {
        (Some(before), Some(after)) => compare("", before, after, &mut fields, &mut count),
        _ if before == after => {}
        _ => {
            count = 1;
            fields.push(FieldChange { path: "spec".to_owned(), before: spec(&before), after: spec(&after) });
        }
    }
    let (before, cut_before) = lines(before.as_ref());
    let (after, cut_after) = lines(after.as_ref());
    let mut diff = Diff {
        id: edit.id(),
        verb: edit.verb(),
        text: String::new(),
        left_out: 0,
        added: 0,
        removed: 0,
        fields_left_out: count - fields.len(),
        fields,
    };
    diff.write(&before, &after);
    diff.left_out += cut_before.max(cut_after);
    diff
}

fn spec(object: &Option<Value>) -> Option<Value> {
    object.as_ref().and_then(|object| object.get("spec")).cloned()
}

/// The object as YAML, and how many of its lines were cut off.
fn lines(object: Option<&Value>) -> (String, usize) {
    let text = object.map(yaml).unwrap_or_default();
    match text.match_indices('\n').nth(MOST_COMPARED - 1) {
        Some((at, _)) => {
            let (head, tail) = text.split_at(at + 1);
            (head.to_owned(), tail.lines().count())
        }
        None => (text, 0),
    }
}

/// A value as YAML. Fields come in the order of their names, except that a manifest begins with what it is.
pub fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_else(|error| format!("# cannot be written as YAML: {error}\n"))
}

/// Notes the fields that differ, and counts them all.
fn compare(path: &str, before: &Value, after: &Value, fields: &mut Vec<FieldChange>, count: &mut usize) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let gone = before.iter().filter(|(field, _)| !after.contains_key(*field));
            for (field, value) in gone {
                note(&below(path, field), Some(value), None, fields, count);
            }
            for (field, value) in after {
                match before.get(field) {
                    Some(old) => compare(&below(path, field), old, value, fields, count),
                    None => note(&below(path, field), None, Some(value), fields, count),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for at in 0..before.len().max(after.len()) {
                let path = format!("{path}[{at}]");
                match (before.get(at), after.get(at)) {
                    (Some(old), Some(new)) => compare(&path, old, new, fields, count),
                    (old, new) => note(&path, old, new, fields, count),
                }
            }
        }
        _ if before == after => {}
        _ => note(path, Some(before), Some(after), fields, count),
    }
}

/// Names with other characters than those of fields, as labels have, stand in quotes.
fn below(path: &str, field: &str) -> String {
    let plain = field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match (plain, path.is_empty()) {
        (true, true) => field.to_owned(),
        (true, false) => format!("{path}.{field}"),
        (false, _) => format!("{path}[{field:?}]"),
    }
}

fn note(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    fields: &mut Vec<FieldChange>,
    count: &mut usize,
) {
    *count += 1;
    if fields.len() < MOST_FIELDS {
        fields.push(FieldChange { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
    }
}

// === impl Diff ===

impl Diff {
    /// True when nothing differs.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.left_out == 0
    }

    fn write(&mut self, before: &str, after: &str) {
        let difference = TextDiff::from_lines(before, after);
        let mut shown = 0;
        for (at, group) in difference.grouped_ops(CONTEXT).iter().enumerate() {
            if at > 0 && shown < MOST_LINES {
                self.text.push_str("@@\n");
            }
            for change in group.iter().flat_map(|op| difference.iter_changes(op)) {
                let sign = match change.tag() {
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                    ChangeTag::Equal => ' ',
                };
                match change.tag() {
                    ChangeTag::Delete => self.removed += 1,
                    ChangeTag::Insert => self.added += 1,
                    ChangeTag::Equal => {}
                }
                if shown == MOST_LINES {
                    self.left_out += 1;
                    continue;
                }
                shown += 1;
                let line = change.value().trim_end_matches('\n');
                // Writing to a String cannot fail.
                let _ = writeln!(self.text, "{sign}{line}");
            }
        }
    }
}
