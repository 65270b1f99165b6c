//! JSON Schemas of arguments and answers, in the plain form that every client takes.

use rmcp::model::JsonObject;
use schemars::{
    JsonSchema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;
use std::sync::Arc;

/// What a tool takes. Fields that may be left out are not nullable: to leave them out is how that is said.
pub(crate) fn input<T: JsonSchema>() -> Arc<JsonObject> {
    let schema = settings().for_deserialize().into_generator().into_root_schema_for::<T>();
    let mut object = (*object(schema)).clone();
    // `deny_unknown_fields` does not go with flattened fields, so every one of ours is closed here.
    object.insert("additionalProperties".to_owned(), Value::Bool(false));
    Arc::new(object)
}

/// What a tool answers.
pub(crate) fn output<T: JsonSchema>() -> Arc<JsonObject> {
    object(settings().for_serialize().into_generator().into_root_schema_for::<T>())
}

/// Without references: not every client follows them. The dialect is MCP's own default, so it is not named.
fn settings() -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|it| {
        it.inline_subschemas = true;
        it.meta_schema = None;
    })
}

fn object(mut schema: schemars::Schema) -> Arc<JsonObject> {
    RecursiveTransform(plain).transform(&mut schema);
    let Value::Object(mut object) = schema.to_value() else {
        // A type whose schema is `true`: anything.
        return Arc::new(JsonObject::new());
    };
    object.remove("title");
    object.remove("description");
    object.insert("type".to_owned(), Value::String("object".to_owned()));
    Arc::new(object)
}

/// Takes away what says nothing to a model: formats of Rust's numbers, null as a choice, names of types.
fn plain(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|it| it.starts_with("uint") || it.starts_with("int") || it == "double" || it == "float")
    {
        object.remove("format");
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|it| it.get("type") != Some(&Value::String("null".to_owned())));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
    // One way to write a choice, whether its values are documented or not.
    let constants = object.get("oneOf").and_then(Value::as_array).and_then(|choices| {
        choices.iter().map(|choice| choice.get("const").cloned()).collect::<Option<Vec<Value>>>()
    });
    if let Some(values) = constants {
        object.remove("oneOf");
        object.insert("type".to_owned(), Value::String("string".to_owned()));
        object.insert("enum".to_owned(), Value::Array(values));
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|it| it != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|it| !it.is_null());
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    /// One or the other.
    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code, reason = "only its schema is looked at")]
    enum Choice {
        /// The one.
        One,
        /// The other.
        Other,
    }

    /// Choices without words of their own.
    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code, reason = "only its schema is looked at")]
    enum Bare {
        Left,
        Right,
    }

    /// Asked.
    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    struct Asked {
        /// A name.
        name: Option<String>,
        /// A count.
        #[serde(default)]
        count: u32,
        /// Which.
        choice: Option<Choice>,
        /// Where.
        side: Option<Bare>,
    }

    #[test]
    fn what_may_be_left_out_is_not_nullable() {
        let expected = serde_json::json!({
            "type": "object",
            "properties": {
                "name": {"description": "A name.", "type": "string"},
                "count": {"description": "A count.", "type": "integer", "minimum": 0, "default": 0},
                "choice": {"description": "Which.", "type": "string", "enum": ["one", "other"]},
                "side": {"description": "Where.", "type": "string", "enum": ["left", "right"]},
            },
            "additionalProperties": false,
        });
        assert_eq!(Value::Object((*input::<Asked>()).clone()), expected);
    }
}
