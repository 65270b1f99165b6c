//! A stream of YAML or JSON as values, bounded: in bytes before it is parsed, and in what aliases may make of them.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::Cell, fmt};

/// The most bytes of a stream. It is refused before it is parsed.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The most objects of a stream.
pub(crate) const MAX_OBJECTS: usize = 50;

/// The most fields, items and values of all objects. A stream of [`MAX_BYTES`] without aliases has fewer than one for
/// four bytes.
const MAX_VALUES: usize = MAX_BYTES / 4;

/// The most bytes of all texts together: aliases can repeat them.
const MAX_TEXT: usize = 2 * MAX_BYTES;

/// Why a stream is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the manifest has {0} bytes, and {MAX_BYTES} (1 MiB) are the most: split it")]
    TooLarge(usize),
    #[error("the manifest has more than {MAX_OBJECTS} objects, the most that are changed at once: split it")]
    TooMany,
    #[error("the manifest's aliases make more of it than is read: write out what they stand for")]
    Expanded,
    #[error("document {at} of the manifest is neither YAML nor JSON")]
    Syntax {
        /// Counted from 1.
        at: usize,
        /// What the parser says, with line and column.
        #[source]
        source: serde_yaml::Error,
    },
}

/// How much of the bounds is left.
struct Left {
    values: Cell<usize>,
    text: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Bounded<'a>(&'a Left);

/// The objects of a stream, in its order; items of Lists are objects of their own, and empty documents are none.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLarge(text.len()));
    }
    let left = Left { values: Cell::new(MAX_VALUES), text: Cell::new(MAX_TEXT) };
    let mut objects = Vec::new();
    for (at, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = Bounded(&left).deserialize(document).map_err(|source| {
            if left.spent() { Error::Expanded } else { Error::Syntax { at: at + 1, source } }
        })?;
        match value {
            Value::Null => {}
            value if is_list(&value) => objects.extend(items(value)),
            value => objects.push(value),
        }
        if objects.len() > MAX_OBJECTS {
            return Err(Error::TooMany);
        }
    }
    Ok(objects)
}

/// `v1 List`, as kubectl prints it.
fn is_list(value: &Value) -> bool {
    value["kind"] == "List" && value["apiVersion"] == "v1" && value["items"].is_array()
}

fn items(mut list: Value) -> Vec<Value> {
    match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

// === impl Left ===

impl Left {
    fn spent(&self) -> bool {
        self.values.get() == 0 || self.text.get() == 0
    }

    fn take<E: de::Error>(&self, text: usize) -> Result<(), E> {
        let values = self.values.get().saturating_sub(1);
        let text = self.text.get().saturating_sub(text);
        self.values.set(values);
        self.text.set(text);
        if self.spent() { Err(E::custom("too much")) } else { Ok(()) }
    }
}

// === impl Bounded ===

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        self.0.take(0)?;
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("JSON has no such number"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.take(value.len())?;
        Ok(value.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.0.take(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        self.0.take(0)?;
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.take(0)?;
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            self.0.take(name.len())?;
            let value = entries.next_value_seed(self)?;
            if map.insert(name.clone(), value).is_some() {
                return Err(de::Error::custom(format!("the field `{name}` stands there twice")));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_and_the_items_of_lists_are_objects() {
        let text = "# first\n---\n---\na: 1\n---\n{\"b\": [true, null, 1.5, \"x\"]}\n---\n\
                    apiVersion: v1\nkind: List\nitems: [{c: 2}, {d: -3}]\n";
        let read = read(text).unwrap();
        assert_eq!(
            read,
            [json!({"a": 1}), json!({"b": [true, null, 1.5, "x"]}), json!({"c": 2}), json!({"d": -3})]
        );
    }

    #[test]
    fn a_megabyte_is_refused_before_it_is_parsed() {
        // It would not parse either.
        let text = "[".repeat(MAX_BYTES + 1);
        assert!(matches!(read(&text), Err(Error::TooLarge(size)) if size == MAX_BYTES + 1));
    }

    #[test]
    fn aliases_cannot_make_a_small_stream_large() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
        }
        assert!(text.len() < 1_000);
        let refused = read(&text).unwrap_err();
        assert!(matches!(refused, Error::Expanded | Error::Syntax { .. }), "{refused:?}");
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 16), vec!["*a"; 1_000].join(", "));
        assert!(matches!(read(&long), Err(Error::Expanded)));
        // The control: a few aliases do no harm.
        assert_eq!(read("a: &a [x]\nb: *a\n").unwrap(), [json!({"a": ["x"], "b": ["x"]})]);
    }

    #[test]
    fn too_many_objects_nonsense_and_fields_that_stand_twice_are_refused() {
        assert!(matches!(read(&"---\na: 1\n".repeat(MAX_OBJECTS + 1)), Err(Error::TooMany)));
        assert_eq!(read(&"---\na: 1\n".repeat(MAX_OBJECTS)).unwrap().len(), MAX_OBJECTS);
        for text in ["a: [", "a: 1\n---\n{b", "a: 1\na: 2\n", "a: .nan"] {
            assert!(matches!(read(text), Err(Error::Syntax { .. })), "{text}");
        }
    }
}
