//! Python values as data: what the original's programs exchange as literals or pickles.
//!
//! Nothing is evaluated: [`parse`](read::parse) reads literal syntax only, and [`repr`](write::repr) writes it.

mod read;
mod write;

pub use read::{LITERAL_DEPTH_MAX, LITERAL_ITEMS_MAX, LiteralError, parse};
pub use write::repr;

/// A Python value made of plain data.
#[derive(Debug, Clone, PartialEq)]
pub enum PyValue {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// An integer; those that do not fit are refused.
    Int(i64),
    /// A float.
    Float(f64),
    /// A `str`.
    Str(String),
    /// A `bytes`.
    Bytes(Vec<u8>),
    /// A tuple.
    Tuple(Vec<PyValue>),
    /// A list.
    List(Vec<PyValue>),
    /// A dict, in its order; a later entry of the same key is the one that counts.
    Dict(Vec<(PyValue, PyValue)>),
}

impl PyValue {
    /// A text.
    pub fn str(text: impl Into<String>) -> Self {
        Self::Str(text.into())
    }

    /// A dict with text keys.
    pub fn dict<K: Into<String>>(entries: impl IntoIterator<Item = (K, PyValue)>) -> Self {
        Self::Dict(entries.into_iter().map(|(key, value)| (Self::str(key), value)).collect())
    }

    /// The text, if it is a `str`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one (`True` is not).
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The elements of a tuple or list.
    pub fn as_sequence(&self) -> Option<&[PyValue]> {
        match self {
            Self::Tuple(items) | Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entry of a dict under a text key.
    pub fn get(&self, key: &str) -> Option<&PyValue> {
        match self {
            Self::Dict(entries) => {
                entries.iter().rev().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v)
            }
            _ => None,
        }
    }

    /// The same data, from JSON; integers that do not fit become floats.
    #[cfg(feature = "api")]
    pub fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::None,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => match n.as_i64() {
                Some(n) => Self::Int(n),
                None => Self::Float(n.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Self::str(text.as_str()),
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Json::Object(map) => {
                Self::dict(map.iter().map(|(k, v)| (k.as_str(), Self::from_json(v))))
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod strategy {
    use super::PyValue;
    use proptest::prelude::*;

    /// Any finite value of moderate size.
    pub(crate) fn value() -> impl Strategy<Value = PyValue> {
        let leaf = prop_oneof![
            Just(PyValue::None),
            any::<bool>().prop_map(PyValue::Bool),
            any::<i64>().prop_map(PyValue::Int),
            any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(PyValue::Float),
            any::<String>().prop_map(PyValue::Str),
            any::<Vec<u8>>().prop_map(PyValue::Bytes),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(PyValue::Tuple),
                prop::collection::vec(inner.clone(), 0..6).prop_map(PyValue::List),
                prop::collection::vec((inner.clone(), inner), 0..6).prop_map(PyValue::Dict),
            ]
        })
    }
}
