//! Label selectors.

use super::{
    Flaw, Oracle,
    json::{label, list, text},
};
use serde_json::Value;

impl Oracle<'_> {
    /// Peers §2.0 "full label selectors": all labels and all expressions must hold; an empty selector takes all.
    pub(super) fn selects(&self, selector: &Value, object: &Value) -> bool {
        let empty = serde_json::Map::new();
        for (key, value) in selector["matchLabels"].as_object().unwrap_or(&empty) {
            if label(object, key) != value.as_str() {
                return false;
            }
        }
        for expression in list(selector, "/matchExpressions") {
            if !self.has(Flaw::MatchExpressionsIgnored) && !holds(expression, object) {
                return false;
            }
        }
        true
    }
}

/// README 2 and §5.7.11: NotIn matches a missing key; In and NotIn without `values` never hold, nor do Exists and
/// DoesNotExist with them, be they empty.
fn holds(expression: &Value, object: &Value) -> bool {
    let values = expression.get("values").and_then(Value::as_array);
    let value = label(object, text(expression, "/key"));
    let is_listed =
        |values: &Vec<Value>| value.is_some_and(|value| values.iter().any(|listed| listed == value));
    match (text(expression, "/operator"), values) {
        ("In", Some(values)) => is_listed(values),
        ("NotIn", Some(values)) => !is_listed(values),
        ("Exists", None) => value.is_some(),
        ("DoesNotExist", None) => value.is_none(),
        _ => false,
    }
}
