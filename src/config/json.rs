//! A JSON file as Go's decoder takes it: the first value counts, what follows is left out, and of
//! two spellings of a key the later one wins.

use std::fmt;

use config::{Map, Value, ValueKind};
use serde_json::Value as Json;
use serde_json::de::Deserializer;

/// The keys of a file in the order they stand, and whether anything follows its last brace.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) pairs: Vec<(String, Value)>,
    pub(super) has_more: bool,
}

/// Reads a text.
///
/// # Errors
/// What the parser says, without the line itself.
pub(super) fn entries(text: &str) -> Result<Entries, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut values = Deserializer::from_str(text).into_iter::<Object>();
    let object = match values.next() {
        None => return Err("there is nothing in it".to_owned()),
        Some(object) => object.map_err(|error| error.to_string())?,
    };
    let rest = text.get(values.byte_offset()..).unwrap_or_default();
    let pairs = object.0.into_iter().map(|(name, value)| (name, of(value))).collect();
    Ok(Entries { pairs, has_more: !rest.trim().is_empty() })
}

/// An object in the order it is written.
struct Object(Vec<(String, Json)>);

impl<'de> serde::Deserialize<'de> for Object {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

struct Pairs;

impl<'de> serde::de::Visitor<'de> for Pairs {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of keys and values")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Object(pairs))
    }
}

fn of(json: Json) -> Value {
    let kind = match json {
        Json::Null => ValueKind::Nil,
        Json::Bool(it) => ValueKind::Boolean(it),
        Json::Number(it) => match (it.as_i64(), it.as_u64(), it.as_f64()) {
            (Some(it), ..) => ValueKind::I64(it),
            (None, Some(it), _) => ValueKind::U64(it),
            (None, None, it) => ValueKind::Float(it.unwrap_or(f64::NAN)),
        },
        Json::String(it) => ValueKind::String(it),
        Json::Array(items) => ValueKind::Array(items.into_iter().map(of).collect()),
        Json::Object(pairs) => {
            let pairs: Map<String, Value> =
                pairs.into_iter().map(|(name, value)| (name, of(value))).collect();
            ValueKind::Table(pairs)
        }
    };
    Value::new(None, kind)
}
