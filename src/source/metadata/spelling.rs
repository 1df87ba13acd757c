//! What the metadata of an array means, in whatever way it is spelt.
//!
//! `zarrs` is given a document that it accepts, with the members that it is needed for: shape, chunks,
//! data type, fill value, names of chunk files. The codecs are a matter of [`codec`](super::super::codec).

use serde_json::{Map, Value, json};
use zarrs::metadata::ArrayMetadata;
use zarrs::metadata::v2::ArrayMetadataV2;
use zarrs::metadata::v3::ArrayMetadataV3;

use crate::source::codec::{NamedCodec, NumpyType};
use crate::source::error::Unsupported;
use crate::source::json::{whole, whole_numbers};
use crate::source::source_type::SourceType;

/// An array's metadata, understood.
#[derive(Debug)]
pub(crate) struct ArrayDescription {
    /// For `zarrs`; its codecs are not those of the array.
    pub(crate) metadata: ArrayMetadata,
    /// The codecs in the order of encoding.
    pub(crate) codecs: Vec<NamedCodec>,
    /// Whether the metadata states how chunk files are named.
    pub(crate) states_chunk_names: bool,
    /// `subfolders` of cpp-zarr: the number of chunks along each axis that share a folder.
    pub(crate) subfolders: Option<Vec<u64>>,
}

/// Puts the metadata document of an array in order. `zarr_format` is 2 or 3.
///
/// # Errors
/// [`Unsupported`] when it is not array metadata after all.
pub(super) fn describe(
    document: &Map<String, Value>,
    zarr_format: u8,
) -> Result<ArrayDescription, Unsupported> {
    if zarr_format == 3 { described_v3(document) } else { described_v2(document) }
}

fn described_v3(document: &Map<String, Value>) -> Result<ArrayDescription, Unsupported> {
    let member = |name: &str| document.get(name).cloned().unwrap_or_default();
    let codecs = document.get("codecs").ok_or(Unsupported::Member("codecs"))?;
    let codecs = NamedCodec::list_v3(codecs)?;
    let data_type = data_type_v3(member("data_type"));
    let known = data_type.as_str().and_then(SourceType::from_zarr_v3);
    let grid = chunk_grid(member("chunk_grid"));
    let mut shape = member("shape");
    repair_numbers(&mut shape);
    let repaired = json!({
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": data_type,
        "chunk_grid": grid,
        "chunk_key_encoding": chunk_key_encoding(&member("chunk_key_encoding"))?,
        "fill_value": fill_value(member("fill_value"), known),
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "storage_transformers": match member("storage_transformers") {
            Value::Null => json!([]),
            stated => stated,
        },
    });
    let metadata = serde_json::from_value::<ArrayMetadataV3>(repaired)
        .map_err(|error| Unsupported::Array(error.to_string()))?;
    Ok(ArrayDescription {
        metadata: ArrayMetadata::V3(metadata),
        codecs,
        states_chunk_names: document.contains_key("chunk_key_encoding"),
        subfolders: None,
    })
}

fn described_v2(document: &Map<String, Value>) -> Result<ArrayDescription, Unsupported> {
    let member = |name: &str| document.get(name).cloned().unwrap_or_default();
    // cpp-zarr writes shards so, without an index that others could read.
    if member("codecs").pointer("/0/name").is_some_and(|name| name == "sharding_indexed") {
        return Err(Unsupported::Codec("sharding_indexed of Zarr v2".to_owned()));
    }
    let dtype = member("dtype");
    let known = dtype.as_str().and_then(NumpyType::parse);
    let order = match member("order") {
        Value::String(order) if !order.is_empty() => json!(order.to_ascii_uppercase()),
        Value::String(_) | Value::Null => json!("C"),
        other => other,
    };
    let separator = member("dimension_separator").as_str().unwrap_or_default().to_owned();
    let (mut shape, mut chunks) = (member("shape"), member("chunks"));
    repair_numbers(&mut shape);
    repair_numbers(&mut chunks);
    let dimensions = shape.as_array().map_or(0, Vec::len);
    let repaired = json!({
        "zarr_format": 2,
        "node_type": "array",
        "shape": shape,
        "chunks": chunks,
        "dtype": known.map_or(dtype, |known| json!(known.zarr_v2())),
        "order": order,
        "fill_value": fill_value(member("fill_value"), known.map(NumpyType::kind)),
        "dimension_separator": if separator.is_empty() { "." } else { &separator },
        "compressor": null,
        "filters": null,
    });
    let metadata = serde_json::from_value::<ArrayMetadataV2>(repaired)
        .map_err(|error| Unsupported::Array(error.to_string()))?;
    let mut codecs = Vec::new();
    if order == "F" {
        let order: Vec<usize> = (0..dimensions).rev().collect();
        codecs.push(NamedCodec::new("transpose", json!({"order": order})));
    }
    let endian = if known.is_some_and(NumpyType::is_big_endian) { "big" } else { "little" };
    codecs.push(NamedCodec::new("bytes", json!({"endian": endian})));
    codecs.extend(NamedCodec::filters_v2(&member("filters"))?);
    codecs.extend(NamedCodec::compressor_v2(&member("compressor"))?);
    Ok(ArrayDescription {
        metadata: ArrayMetadata::V2(metadata),
        codecs,
        states_chunk_names: !separator.is_empty(),
        subfolders: whole_numbers(&member("subfolders")),
    })
}

/// Numbers spelt `4.0` or `"4"`; a list with anything else is left to be refused.
fn repair_numbers(list: &mut Value) {
    if let Some(numbers) = whole_numbers(list) {
        *list = json!(numbers);
    }
}

/// A regular grid may be written with a capital, by its `type`, and without `configuration`.
fn chunk_grid(stated: Value) -> Value {
    let name = stated.get("name").or_else(|| stated.get("type")).and_then(Value::as_str);
    let shape = stated.pointer("/configuration/chunk_shape").or_else(|| stated.get("chunk_shape"));
    match (name, shape) {
        (Some(name), Some(shape)) if name.eq_ignore_ascii_case("regular") => {
            let mut shape = shape.clone();
            repair_numbers(&mut shape);
            json!({"name": "regular", "configuration": {"chunk_shape": shape}})
        }
        _ => stated,
    }
}

/// The name of a number type, which may be spelt as `NumPy` does, in upper case, or as an object without
/// configuration. Where it lies in memory is a matter of the codec `bytes`.
fn data_type_v3(stated: Value) -> Value {
    let name = match &stated {
        Value::Object(members) => match members.get("configuration") {
            None | Some(Value::Null) => members.get("name"),
            Some(Value::Object(configuration)) if configuration.is_empty() => members.get("name"),
            Some(_) => None,
        },
        name => Some(name),
    };
    let known = name.and_then(Value::as_str).and_then(NumpyType::parse);
    known.map_or(stated, |known| json!(known.kind().name()))
}

/// The encoding may be missing, or spelt by its name only (Zarr v3 core specification, "Chunk key
/// encoding": the separator of `default` is `/`, that of `v2` is `.`).
fn chunk_key_encoding(stated: &Value) -> Result<Value, Unsupported> {
    let (name, separator) = match stated {
        Value::Null => ("default", None),
        Value::String(name) => (name.as_str(), None),
        Value::Object(members) => {
            let name = members.get("name").and_then(Value::as_str);
            let nested = stated.pointer("/configuration/separator");
            let separator = nested.or_else(|| members.get("separator"));
            (name.ok_or(Unsupported::Member("chunk_key_encoding"))?, separator)
        }
        _ => return Err(Unsupported::Member("chunk_key_encoding")),
    };
    let name = name.to_ascii_lowercase();
    let usual = match name.as_str() {
        "default" => "/",
        "v2" => ".",
        // Left to `zarrs`, which may know it.
        _ => return Ok(stated.clone()),
    };
    let separator = match separator {
        None | Some(Value::Null) => usual,
        Some(Value::String(separator)) if matches!(separator.as_str(), "." | "/") => separator,
        Some(_) => return Err(Unsupported::Member("separator")),
    };
    Ok(json!({"name": name, "configuration": {"separator": separator}}))
}

/// A fill value may be written `0.0` (z5), `"0"` (early bioformats2raw), `[0]`, `false`, `""`, `"none"`,
/// `"nan"`, or be left out. Integers have no NaN: there it states nothing.
fn fill_value(stated: Value, kind: Option<SourceType>) -> Value {
    let Some(kind) = kind else { return stated };
    if let Some([only]) = stated.as_array().map(Vec::as_slice) {
        return fill_value(only.clone(), Some(kind));
    }
    let text = stated.as_str().map(str::trim);
    let is_word = |word: &str| text.is_some_and(|text| text.eq_ignore_ascii_case(word));
    let is_missing = stated.is_null()
        || ["", "null", "none"].into_iter().any(is_word)
        || (kind.is_integer() && is_word("nan"));
    let repaired = match kind {
        SourceType::Bool if is_missing => Some(json!(false)),
        SourceType::Bool => match text {
            Some(text) if text.eq_ignore_ascii_case("true") => Some(json!(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Some(json!(false)),
            _ => whole(&stated).filter(|&n| n <= 1).map(|n| json!(n == 1)),
        },
        _ if is_missing => Some(json!(0)),
        SourceType::F16 | SourceType::F32 | SourceType::F64 => float_fill_value(&stated),
        _ => integer_fill_value(&stated),
    };
    repaired.unwrap_or(stated)
}

fn integer_fill_value(stated: &Value) -> Option<Value> {
    let number = match stated {
        Value::Bool(flag) => return Some(json!(u8::from(*flag))),
        Value::String(text) => match parse_integer(text.trim()) {
            Ok(number) => {
                let unsigned = u64::try_from(number).map(Value::from);
                return unsigned.or_else(|_| i64::try_from(number).map(Value::from)).ok();
            }
            Err(_) => text.trim().parse::<f64>().ok()?,
        },
        Value::Number(number) if number.is_f64() => number.as_f64()?,
        _ => return None,
    };
    let whole =
        (number.is_finite() && number.fract() == 0.0).then(|| format!("{:.0}", number + 0.0))?;
    serde_json::from_str(&whole).ok().filter(|value: &Value| value.is_u64() || value.is_i64())
}

/// Decimal, or hexadecimal behind `0x`.
fn parse_integer(text: &str) -> Result<i128, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => text.parse(),
    }
}

fn float_fill_value(stated: &Value) -> Option<Value> {
    let number = match stated {
        Value::Bool(flag) => return Some(json!(f64::from(*flag))),
        // The bits, as Zarr v3 spells those that are no decimal number.
        Value::String(text) if text.starts_with("0x") => return None,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    Some(if number.is_nan() {
        json!("NaN")
    } else if number.is_infinite() {
        json!(if number > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_values_of_the_wrong_type_are_repaired() {
        let cases = [
            (SourceType::U16, json!("0"), json!(0)),
            (SourceType::I16, json!("-7"), json!(-7)),
            (SourceType::U16, json!(0.0), json!(0)),
            (SourceType::U16, json!(null), json!(0)),
            (SourceType::U16, json!(12), json!(12)),
            (SourceType::U16, json!(1.5), json!(1.5)),
            (SourceType::U16, json!(false), json!(0)),
            (SourceType::U16, json!(""), json!(0)),
            (SourceType::U16, json!("7.0"), json!(7)),
            (SourceType::U64, json!("18446744073709551615"), json!(u64::MAX)),
            (SourceType::I16, json!("-0.0"), json!(0)),
            (SourceType::U16, json!("NaN"), json!(0)),
            (SourceType::U16, json!("None"), json!(0)),
            (SourceType::U16, json!([3]), json!(3)),
            (SourceType::U16, json!("0x1F"), json!(31)),
            (SourceType::U16, json!([1, 2]), json!([1, 2])),
            (SourceType::F32, json!("0"), json!(0.0)),
            (SourceType::F32, json!(null), json!(0)),
            (SourceType::F32, json!("NaN"), json!("NaN")),
            (SourceType::F32, json!("nan"), json!("NaN")),
            (SourceType::F64, json!("-inf"), json!("-Infinity")),
            (SourceType::F32, json!("0x7fc00000"), json!("0x7fc00000")),
            (SourceType::F32, json!(2.5), json!(2.5)),
            (SourceType::F32, json!(true), json!(1.0)),
            (SourceType::Bool, json!(null), json!(false)),
            (SourceType::Bool, json!(1), json!(true)),
            (SourceType::Bool, json!(0.0), json!(false)),
            (SourceType::Bool, json!("False"), json!(false)),
            (SourceType::Bool, json!(2), json!(2)),
        ];
        for (kind, given, expected) in cases {
            assert_eq!(fill_value(given.clone(), Some(kind)), expected, "{kind:?} {given}");
        }
    }

    #[test]
    fn types_and_encodings_are_spelt_in_many_ways() {
        let regular = json!({"name": "regular", "configuration": {"chunk_shape": [2, 3]}});
        for given in [
            json!({"name": "Regular", "configuration": {"chunk_shape": [2.0, "3"]}}),
            json!({"type": "regular", "configuration": {"chunk_shape": [2, 3]}}),
            json!({"name": "regular", "chunk_shape": [2, 3]}),
        ] {
            assert_eq!(chunk_grid(given.clone()), regular, "{given}");
        }
        let other = json!({"name": "rectangular", "configuration": {"chunk_shape": [2]}});
        assert_eq!(chunk_grid(other.clone()), other);
        for given in ["<u2", ">u2", "=u2", " u2", "H", "UINT16", "np.uint16"] {
            assert_eq!(data_type_v3(json!(given)), "uint16", "{given}");
        }
        for given in [json!({"name": "uint16"}), json!({"name": "uint16", "configuration": {}})] {
            assert_eq!(data_type_v3(json!(given)), "uint16", "{given}");
        }
        let other = json!({"name": "numpy.datetime64", "configuration": {"unit": "s"}});
        assert_eq!(data_type_v3(other.clone()), other);
        let encoding =
            |name, separator| json!({"name": name, "configuration": {"separator": separator}});
        for (given, expected) in [
            (json!(null), encoding("default", "/")),
            (json!("default"), encoding("default", "/")),
            (json!("V2"), encoding("v2", ".")),
            (json!({"name": "default", "separator": "."}), encoding("default", ".")),
            (json!({"name": "v2"}), encoding("v2", ".")),
            (json!({"name": "v2", "configuration": {}}), encoding("v2", ".")),
            (json!({"name": "v2", "configuration": {"separator": "/"}}), encoding("v2", "/")),
            (json!({"name": "default", "configuration": null}), encoding("default", "/")),
        ] {
            assert_eq!(chunk_key_encoding(&given), Ok(expected), "{given}");
        }
        assert!(chunk_key_encoding(&encoding("default", "-")).is_err());
        assert!(chunk_key_encoding(&json!(3)).is_err());
    }
}
