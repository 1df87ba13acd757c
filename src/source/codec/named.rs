//! Codecs as metadata names them: Zarr v3 by `name` and `configuration`, Zarr v2 by `id`.

use serde_json::{Map, Value, json};
use zarrs::metadata::v3::MetadataV3;

use crate::source::error::Unsupported;

/// Most codecs in one list; writers use up to four.
const MOST_CODECS: usize = 32;

/// Prefixes of codecs of numcodecs in Zarr v3: that of zarr-python, and that of numcodecs 0.13.
const NUMCODECS_PREFIXES: [&str; 2] = ["numcodecs.", "https://zarr.dev/numcodecs/"];

/// Prefixes under which `zarrs` has written codecs that are known without them.
const ZARRS_PREFIXES: [&str; 4] = [
    "zarrs.",
    "https://codec.zarrs.dev/array_to_array/",
    "https://codec.zarrs.dev/array_to_bytes/",
    "https://codec.zarrs.dev/bytes_to_bytes/",
];

/// A codec of either format.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedCodec {
    /// As the metadata spells it.
    pub(crate) name: String,
    /// Its configuration.
    pub(crate) members: Map<String, Value>,
}

impl NamedCodec {
    /// A codec that the metadata implies.
    pub(crate) fn new(name: &str, configuration: Value) -> Self {
        let members = match configuration {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        // All known names are of small letters.
        Self { name: name.to_ascii_lowercase(), members }
    }

    /// The name without a prefix.
    pub(super) fn plain_name(&self) -> &str {
        let without = |prefixes: &[&str]| without_prefix(&self.name, prefixes);
        without(&NUMCODECS_PREFIXES).or_else(|| without(&ZARRS_PREFIXES)).unwrap_or(&self.name)
    }

    /// Whether the name says that it is the codec of numcodecs, not another one of the same name.
    pub(super) fn is_of_numcodecs(&self) -> bool {
        without_prefix(&self.name, &NUMCODECS_PREFIXES).is_some()
    }

    /// A list of codecs as Zarr v3 has it; a codec may be its name only, or as in Zarr v2.
    ///
    /// # Errors
    /// [`Unsupported`] when it is not one.
    pub(crate) fn list_v3(codecs: &Value) -> Result<Vec<Self>, Unsupported> {
        let one = |codec: &Value| match codec {
            Value::String(name) => Some(Self::new(name, Value::Null)),
            Value::Object(members) => match members.get("name") {
                Some(name) => {
                    let configuration = members.get("configuration").cloned().unwrap_or_default();
                    Some(Self::new(name.as_str()?, configuration))
                }
                None => Self::from_v2(codec),
            },
            _ => None,
        };
        Self::list(codecs, "codecs", one)
    }

    /// The filters of Zarr v2. None are spelt `null`, `[]`, `{}`, `false` or `""`; there may be
    /// one without a list.
    ///
    /// # Errors
    /// [`Unsupported`] when it is neither.
    pub(crate) fn filters_v2(filters: &Value) -> Result<Vec<Self>, Unsupported> {
        match filters {
            Value::Array(_) => Self::list(filters, "filters", Self::from_v2),
            other if is_nothing(other) => Ok(Vec::new()),
            one => Ok(vec![Self::from_v2(one).ok_or(Unsupported::Member("filters"))?]),
        }
    }

    /// The compressor of Zarr v2; none is spelt as for the filters.
    ///
    /// # Errors
    /// [`Unsupported`] when it is neither.
    pub(crate) fn compressor_v2(compressor: &Value) -> Result<Option<Self>, Unsupported> {
        if is_nothing(compressor) {
            return Ok(None);
        }
        Self::from_v2(compressor).map(Some).ok_or(Unsupported::Member("compressor"))
    }

    fn from_v2(codec: &Value) -> Option<Self> {
        match codec {
            Value::String(id) => Some(Self::new(id, Value::Null)),
            Value::Object(members) => {
                let id = members.get("id").or_else(|| members.get("name"))?;
                Some(Self::new(id.as_str()?, Value::Object(members.clone())))
            }
            _ => None,
        }
    }

    fn list(
        codecs: &Value,
        member: &'static str,
        one: impl Fn(&Value) -> Option<Self>,
    ) -> Result<Vec<Self>, Unsupported> {
        let codecs = codecs.as_array().ok_or(Unsupported::Member(member))?;
        if codecs.len() > MOST_CODECS {
            return Err(Unsupported::Member(member));
        }
        let there = codecs.iter().filter(|codec| !codec.is_null());
        there.map(|codec| one(codec).ok_or(Unsupported::Member(member))).collect()
    }

    /// # Errors
    /// [`Unsupported`] when the configuration has other members: what they mean is not known.
    pub(super) fn has_only(&self, known: &[&str]) -> Result<(), Unsupported> {
        // zarr-python may repeat the name.
        let is_known = |name: &str| name == "id" || known.contains(&name);
        match self.members.keys().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(other) => Err(Unsupported::Codec(format!("{} with {other:?}", self.name))),
        }
    }

    /// A member that is text, or not there.
    ///
    /// # Errors
    /// [`Unsupported`] when it is anything else.
    pub(super) fn words(&self, member: &'static str) -> Result<Option<&str>, Unsupported> {
        match self.members.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(stated) => stated.as_str().map(Some).ok_or(Unsupported::Member(member)),
        }
    }

    /// What `zarrs` reads.
    pub(super) fn metadata(&self) -> Result<MetadataV3, Unsupported> {
        let metadata = json!({"name": self.name, "configuration": self.members});
        serde_json::from_value(metadata).map_err(|_| self.refused())
    }

    pub(super) fn refused(&self) -> Unsupported {
        Unsupported::Codec(self.name.clone())
    }
}

/// The name behind the first of the prefixes that it has, in whatever case.
fn without_prefix<'a>(name: &'a str, prefixes: &[&str]) -> Option<&'a str> {
    prefixes.iter().find_map(|prefix| {
        let (start, plain) = name.split_at_checked(prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then_some(plain)
    })
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}
