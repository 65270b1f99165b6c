//! The documents of a file, each with its place, so that a fault can be found. One that cannot be read does not hide
//! the others.

use serde_json::Value;

/// An object, or why there is none.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    pub(super) place: Place,
    pub(super) content: Result<Value, String>,
}

/// Where an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    /// Counted from 1; of YAML empty documents count, too.
    pub(super) document: usize,
    /// Place in a list, counted from 1.
    pub(super) item: Option<usize>,
}

/// Reads all documents of `text`; items of lists come one by one.
pub(super) fn read(file: &str, text: &str) -> Vec<Document> {
    let text = text.trim_start_matches('\u{feff}');
    let contents = match text.trim_start().starts_with(['{', '[']) {
        true => json(text),
        false => yaml(text),
    };
    let place = |at| Place { file: file.to_owned(), document: at + 1, item: None };
    contents.into_iter().enumerate().flat_map(|(at, content)| unfold(place(at), content)).collect()
}

/// One JSON value after the other. After a fault there is no telling where the next one begins.
fn json(text: &str) -> Vec<Result<Value, String>> {
    let mut contents = Vec::new();
    for content in serde_json::Deserializer::from_str(text).into_iter() {
        let content = content.map_err(|error| format!("it is no JSON: {error}"));
        let faulty = content.is_err();
        contents.push(content);
        if faulty {
            break;
        }
    }
    contents
}

/// Documents between lines of `---`, each read by itself.
fn yaml(text: &str) -> Vec<Result<Value, String>> {
    let mut documents = vec![String::new()];
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("---") {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']) => {
                documents.push(rest.to_owned());
            }
            _ => documents.last_mut().expect("it begins with one").push_str(line),
        }
    }
    // What stands before the first line of dashes is a document only when something is there.
    let blank = |text: &String| {
        text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with(['#', '%']))
    };
    if documents.len() > 1 && documents.first().is_some_and(blank) {
        documents.remove(0);
    }
    let parse = |text: String| serde_yaml::from_str(&text).map_err(|error| format!("it is no YAML: {error}"));
    documents.into_iter().map(parse).collect()
}

/// A list gives its items, nothing gives nothing.
fn unfold(place: Place, content: Result<Value, String>) -> Vec<Document> {
    let whole = |content| vec![Document { place: place.clone(), content }];
    let items = |values: Vec<Value>, defaults: Option<(String, Value)>| {
        let item = |(at, mut value): (usize, Value)| {
            if let (Some((kind, version)), Some(object)) = (&defaults, value.as_object_mut()) {
                object.entry("kind").or_insert_with(|| kind.as_str().into());
                object.entry("apiVersion").or_insert_with(|| version.clone());
            }
            unfold(Place { item: Some(at + 1), ..place.clone() }, Ok(value))
        };
        values.into_iter().enumerate().flat_map(item).collect()
    };
    match content {
        Ok(Value::Null) => Vec::new(),
        Ok(Value::Array(values)) if place.item.is_none() => items(values, None),
        Ok(Value::Object(mut object)) if place.item.is_none() && is_list(&object) => {
            // The items of a typed list do not repeat its type.
            let kind = object.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
            let kind = kind.filter(|kind| !kind.is_empty()).map(str::to_owned);
            let defaults = kind.zip(object.get("apiVersion").cloned());
            match object.remove("items") {
                Some(Value::Array(values)) => items(values, defaults),
                Some(Value::Null) | None => Vec::new(),
                Some(_) => whole(Err("its `items` are no list".to_owned())),
            }
        }
        Ok(Value::Object(object)) => whole(Ok(Value::Object(object))),
        Ok(_) => whole(Err("it is no mapping, so it is no Kubernetes object".to_owned())),
        Err(fault) => whole(Err(fault)),
    }
}

fn is_list(object: &serde_json::Map<String, Value>) -> bool {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    kind.ends_with("List") && object.contains_key("items")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn places(text: &str) -> Vec<(usize, Option<usize>, bool)> {
        let documents = read("f", text);
        documents.iter().map(|d| (d.place.document, d.place.item, d.content.is_ok())).collect()
    }

    #[test]
    fn a_bad_document_hides_no_other() {
        let text = "# head\n---\nkind: A\n---\nkind: [\n---\n---\nkind: B\ntext: |\n  x\n  ---\n";
        assert_eq!(places(text), [(1, None, true), (2, None, false), (4, None, true)]);
        assert_eq!(places("kind: A\n--- # next\nkind: B"), [(1, None, true), (2, None, true)]);
        assert_eq!(places("just words"), [(1, None, false)]);
        assert_eq!(places(""), []);
    }

    #[test]
    fn json_documents_follow_each_other() {
        assert_eq!(
            places("{\"kind\": \"A\"}\n{\"kind\": \"B\"} {"),
            [(1, None, true), (2, None, true), (3, None, false)]
        );
    }

    #[test]
    fn lists_are_unfolded_and_typed_ones_lend_their_type() {
        let list = json!({"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}]});
        let documents = read("f", &list.to_string());
        assert_eq!(
            documents[0].content,
            Ok(json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}}))
        );
        assert_eq!(places("kind: List\nitems: [{kind: A}, 7]"), [(1, Some(1), true), (1, Some(2), false)]);
        assert_eq!(places("[{\"kind\": \"A\"}]"), [(1, Some(1), true)]);
        assert_eq!(places("kind: List\nitems: 7"), [(1, None, false)]);
    }
}
