//! Parameters of a request. Pure.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Refusal;

/// The parameters of a query string, decoded, those without a value left out: they are ignored.
pub(super) fn parameters(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// The value of a parameter; the first one when it is repeated.
pub(super) fn value<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// `true`, `false`, or a number of which 0 is false.
///
/// # Errors
/// Anything else.
pub(super) fn boolean(text: &str) -> Result<bool, Refusal> {
    match serde_json::from_str(text) {
        Ok(Value::Bool(value)) => Ok(value),
        Ok(Value::Number(number)) => Ok(number.as_f64() != Some(0.0)),
        _ => Err(Refusal::bad(format!("cannot interpret '{text}' as a 'bool'."))),
    }
}

/// What an object must have to be in the answer.
#[derive(Debug)]
pub(super) struct Filter(Vec<(String, Value)>);

impl Filter {
    /// From parameters: all must hold. Which fields are texts, and which are booleans.
    ///
    /// # Errors
    /// Another field; a boolean that is not one.
    pub(super) fn new(
        parameters: Vec<(String, String)>,
        texts: &[&str],
        booleans: &[&str],
    ) -> Result<Self, Refusal> {
        let read = |(name, value): (String, String)| {
            if texts.contains(&name.as_str()) {
                Ok((name, Value::String(value)))
            } else if booleans.contains(&name.as_str()) {
                Ok((name, Value::Bool(boolean(&value)?)))
            } else {
                Err(Refusal::bad(format!("'{name}' is not a valid filtering field.")))
            }
        };
        parameters.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an object passes.
    pub(super) fn wants(&self, object: &Map<String, Value>) -> bool {
        self.0.iter().all(|(name, value)| object.get(name) == Some(value))
    }
}

/// `{"num_<what>": <n>, "<what>": [...]}`.
pub(super) fn counted(what: &str, objects: Vec<Value>) -> Value {
    let mut answer = Map::new();
    answer.insert(format!("num_{what}"), objects.len().into());
    answer.insert(what.to_owned(), Value::Array(objects));
    Value::Object(answer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filter(query: &str) -> Result<Filter, String> {
        let made = Filter::new(parameters(query), &["name", "ip"], &["booted"]);
        made.map_err(|refusal| refusal.message)
    }

    #[test]
    fn filters() {
        let n1 = json!({"name": "n 1", "ip": null, "booted": true});
        let n1 = n1.as_object().unwrap();
        for (query, wanted) in [
            ("", true),
            ("name=", true),
            ("name", true),
            ("name=n+1&booted=true", true),
            ("name=n%201&booted=1", true),
            ("name=N%201", false),
            ("ip=null", false),
            ("booted=false", false),
            ("booted=0", false),
            ("name=n+1&name=n2", false),
        ] {
            assert_eq!(filter(query).unwrap().wants(n1), wanted, "{query}");
        }
        for (query, said) in [
            ("config=1", "'config' is not a valid filtering field."),
            ("booted=True", "cannot interpret 'True' as a 'bool'."),
            ("booted=%22no%22", "cannot interpret '\"no\"' as a 'bool'."),
            ("%ff=1", "'\u{fffd}' is not a valid filtering field."),
        ] {
            assert_eq!(filter(query).unwrap_err(), said, "{query}");
        }
    }

    #[test]
    fn answers_are_counted() {
        let answer = counted("nodes", vec![json!(1), json!(2)]);
        assert_eq!(answer, json!({"num_nodes": 2, "nodes": [1, 2]}));
    }
}
