//! Arguments of tools: read all at once, and refused so that a model can mend them.

use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The most characters of what a model wrote that are repeated to it.
const ECHO: usize = 80;

/// Reads the arguments.
///
/// # Errors
///
/// A sentence that names the field, what it should be, and all fields there are.
pub(crate) fn read<T: DeserializeOwned>(given: Option<JsonObject>, schema: &JsonObject) -> Result<T, String> {
    let given = given.unwrap_or_default();
    let wrong = problems(&given, schema);
    if !wrong.is_empty() {
        return Err(format!("{}. {}", wrong.join("; "), fields(schema)));
    }
    // An argument that is null was left out.
    let given = given.into_iter().filter(|(_, value)| !value.is_null()).collect();
    serde_path_to_error::deserialize(Value::Object(given)).map_err(|error| {
        let (path, inner) = (error.path().to_string(), crate::mcp::text::data(&error.inner().to_string()));
        format!("`{path}`: {inner}. {}", fields(schema))
    })
}

/// Everything that the schema says is wrong, so that one answer mends all: names, types, ranges, choices.
fn problems(given: &JsonObject, schema: &JsonObject) -> Vec<String> {
    let none = JsonObject::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let mut wrong = Vec::new();
    for (name, value) in given {
        match properties.get(name) {
            None => wrong.push(format!("there is no argument `{}`", echo(name))),
            Some(_) if value.is_null() => {}
            Some(wanted) => wrong.extend(problem(name, value, wanted)),
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if given.get(name).is_none_or(Value::is_null) {
            wrong.push(format!("`{name}` is required: {}", description(properties.get(name))));
        }
    }
    wrong
}

fn problem(name: &str, value: &Value, wanted: &Value) -> Option<String> {
    if let Some(choices) = choices(wanted) {
        let known = value.as_str().is_some_and(|value| choices.contains(&value));
        return (!known).then(|| {
            format!("`{name}` is {}, but must be one of {}", echo(&value.to_string()), choices.join(", "))
        });
    }
    let kind = wanted.get("type").and_then(Value::as_str)?;
    let fits = match kind {
        "string" => value.is_string(),
        "integer" => value.as_i64().is_some() || value.as_u64().is_some(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    if !fits {
        return Some(format!("`{name}` is {}, but must be {}", echo(&value.to_string()), article(kind)));
    }
    let (low, high) = (
        wanted.get("minimum").and_then(Value::as_f64).unwrap_or(f64::MIN),
        wanted.get("maximum").and_then(Value::as_f64).unwrap_or(f64::MAX),
    );
    let number = value.as_f64()?;
    (number < low || number > high).then(|| match high {
        f64::MAX => format!("`{name}` is {number}, but must be at least {low}"),
        _ => format!("`{name}` is {number}, but must be from {low} to {high}"),
    })
}

/// The names a field may have.
fn choices(wanted: &Value) -> Option<Vec<&str>> {
    let list = wanted.get("enum")?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).collect())
}

fn fields(schema: &JsonObject) -> String {
    let names: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|it| it.keys().map(String::as_str).collect())
        .unwrap_or_default();
    match names.as_slice() {
        [] => "It takes no arguments".to_owned(),
        names => format!("Its arguments are {}", names.join(", ")),
    }
}

fn description(property: Option<&Value>) -> &str {
    property.and_then(|it| it.get("description")?.as_str()).unwrap_or("see the tool's schema")
}

fn article(kind: &str) -> &'static str {
    match kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "an object",
    }
}

fn echo(text: &str) -> String {
    crate::mcp::text::data(&text.chars().take(ECHO).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::schema;
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Asked {
        /// Who is meant.
        name: String,
        #[schemars(range(min = 1, max = 9))]
        count: Option<u32>,
        which: Option<Which>,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Which {
        One,
        Other,
    }

    fn asked(arguments: Value) -> Result<Asked, String> {
        read(arguments.as_object().cloned(), &schema::input::<Asked>())
    }

    #[test]
    fn arguments_may_be_left_out_or_null() {
        assert_eq!(asked(json!({"count": null})), Ok(Asked::default()));
        let all = asked(json!({"name": "a", "count": 9, "which": "other"}));
        assert_eq!(all, Ok(Asked { name: "a".to_owned(), count: Some(9), which: Some(Which::Other) }));
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_with_what_would_be_right() {
        let wrong = json!({"name": 7, "count": 10, "which": "none", "limmit": 1});
        assert_eq!(
            asked(wrong).unwrap_err(),
            "`count` is 10, but must be from 1 to 9; there is no argument `limmit`; `name` is 7, but must be text; \
             `which` is \"none\", but must be one of one, other. Its arguments are count, name, which"
        );
        assert!(
            asked(json!({"count": 1.5}))
                .unwrap_err()
                .starts_with("`count` is 1.5, but must be a whole number")
        );
        assert!(
            asked(json!({"count": -1})).unwrap_err().starts_with("`count` is -1, but must be from 1 to 9")
        );
    }

    #[test]
    fn what_a_model_wrote_comes_back_short_and_visible() {
        let error = asked(json!({"\u{202e}evil".to_owned() + &"x".repeat(500): 1})).unwrap_err();
        assert!(error.starts_with("there is no argument `\\u{202e}evilxxx"), "{error}");
        assert!(error.len() < 250, "{error}");
    }
}
