//! Values as templates see them. Maps are shared, as in Go: `set` is seen by everybody who has the map.

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

/// A map that everybody who has it changes.
pub(crate) type Map = Rc<RefCell<BTreeMap<String, Value>>>;

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Rc<Vec<Value>>),
    Map(Map),
}

// === impl Value ===

impl Value {
    /// A map of its own.
    pub(crate) fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self::Map(Rc::new(RefCell::new(entries.into_iter().collect())))
    }

    /// Go's truth: neither nothing nor zero nor empty. Also what `default` and `merge` take for set.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(value) => !value.is_empty(),
            Self::List(values) => !values.is_empty(),
            Self::Map(map) => !map.borrow().is_empty(),
        }
    }

    /// The kind, as errors name it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Nil => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(value), _) => Self::Int(value),
                // YAML's 3.0 is a whole number for JSON, and so for Kubernetes.
                (None, Some(value)) => Self::Float(value),
                (None, None) => Self::Nil,
            },
            Json::String(value) => Self::Text(value.clone()),
            Json::Array(values) => Self::List(Rc::new(values.iter().map(Self::from).collect())),
            Json::Object(map) => Self::map(map.iter().map(|(key, value)| (key.clone(), Self::from(value)))),
        }
    }
}

impl fmt::Display for Value {
    /// As Go prints it. Nothing is nothing: Helm takes Go's `<no value>` away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => Ok(()),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", values.join(" "))
            }
            Self::Map(map) => {
                let entries: Vec<String> =
                    map.borrow().iter().map(|(key, value)| format!("{key}:{value}")).collect();
                write!(f, "map[{}]", entries.join(" "))
            }
        }
    }
}
