//! Every codec against bytes that numcodecs wrote, as Zarr v2 and Zarr v3 name it.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::chain::BoundedChain;
use super::*;
use crate::source::decode_error::DecodeError;
use crate::source::source_type::SourceType;

struct File(Vec<u8>);

impl Blob for File {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("small");
        out.copy_from_slice(&self.0[offset..offset + out.len()]);
        Ok(())
    }
}

/// A configuration, the encoded bytes, the decoded bytes.
type Case = (Map<String, Value>, Vec<u8>, Vec<u8>);

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|two| str::from_utf8(two).expect("ASCII"));
    digits.map(|two| u8::from_str_radix(two, 16).expect("hexadecimal")).collect()
}

fn golden() -> Vec<Case> {
    let lines = include_str!("golden.tsv").lines().filter(|line| !line.starts_with('#'));
    let cases = lines.map(|line| {
        let mut parts = line.split('\t');
        let mut next = || parts.next().expect("three parts");
        let configuration = serde_json::from_str(next()).expect("JSON");
        (configuration, bytes(next()), bytes(next()))
    });
    cases.collect()
}

fn little_endian() -> NamedCodec {
    NamedCodec::new("bytes", json!({"endian": "little"}))
}

fn chain(codecs: &[NamedCodec], kind: SourceType, bytes: usize) -> BoundedChain {
    let elements = NonZeroU64::new((bytes / kind.bytes()) as u64).expect("some");
    BoundedChain::new(codecs, &[elements], kind).expect("known codecs")
}

/// The kind of numbers that a filter decodes to.
fn kind_of(configuration: &Map<String, Value>) -> Option<SourceType> {
    let name = configuration["id"].as_str().expect("text");
    let member = if name == "astype" { "decode_dtype" } else { "dtype" };
    let stated = configuration.get(member).and_then(Value::as_str).and_then(NumpyType::parse);
    match name {
        "packbits" => Some(SourceType::Bool),
        "bitround" => Some(SourceType::F32),
        _ => stated.map(NumpyType::kind),
    }
}

#[test]
fn filters_and_compressors_of_zarr_v2_decode_as_numcodecs_does() {
    let cases = golden();
    assert!(cases.len() > 60);
    for (configuration, encoded, decoded) in cases {
        // For Zarr v2, all are codecs from bytes to bytes.
        let filters = json!([configuration]);
        let mut codecs = vec![little_endian()];
        codecs.extend(NamedCodec::filters_v2(&filters).expect("a filter"));
        let chain = chain(&codecs, SourceType::U8, decoded.len());
        assert_eq!(chain.decode_blob(&File(encoded)).expect("decodes"), decoded, "{filters}");
    }
}

#[test]
fn codecs_of_zarr_v3_named_after_numcodecs_decode_as_numcodecs_does() {
    for (mut configuration, encoded, decoded) in golden() {
        let kind = kind_of(&configuration);
        let text = Value::Object(configuration.clone()).to_string();
        if text.contains("\">") {
            continue;
        }
        let id = configuration.remove("id").expect("a name");
        let name = format!("numcodecs.{}", id.as_str().expect("text"));
        let codec = json!({"name": name, "configuration": configuration});
        // Filters come before `bytes`, and may leave their type to the array's.
        let list = if kind.is_some() { json!([codec, "bytes"]) } else { json!(["bytes", codec]) };
        let codecs = NamedCodec::list_v3(&list).expect("codecs");
        let chain = chain(&codecs, kind.unwrap_or(SourceType::U8), decoded.len());
        assert_eq!(chain.decode_blob(&File(encoded)).expect("decodes"), decoded, "{text}");
    }
}

#[test]
fn damage_is_an_error_whatever_the_codec() {
    for (configuration, encoded, decoded) in golden() {
        let filters = json!([configuration]);
        let mut codecs = vec![little_endian()];
        codecs.extend(NamedCodec::filters_v2(&filters).expect("a filter"));
        let chain = chain(&codecs, SourceType::U8, decoded.len());
        let mut longer = encoded.clone();
        longer.extend([0; 16]);
        // Bytes after the end of a stream are no part of it.
        if !["zlib", "bz2", "gzip", "lzma"].iter().any(|id| configuration["id"] == *id) {
            assert!(chain.decode_blob(&File(longer)).is_err(), "{filters}");
        }
        for len in 0..encoded.len() {
            let cut = chain.decode_blob(&File(encoded[..len].to_vec()));
            assert!(cut.is_err() || cut.is_ok_and(|bytes| bytes == decoded), "{filters} {len}");
        }
        let id = configuration["id"].as_str().expect("text");
        if ["adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"].contains(&id) {
            for at in 0..encoded.len() {
                let mut damaged = encoded.clone();
                damaged[at] ^= 0x10;
                assert!(chain.decode_blob(&File(damaged)).is_err(), "{filters} {at}");
            }
        }
    }
}

#[test]
fn filters_stand_between_transposes_in_zarr_v3() {
    let transpose = json!({"name": "transpose", "configuration": {"order": "F"}});
    let delta =
        json!({"name": "numcodecs.delta", "configuration": {"dtype": "<u2", "astype": "|i1"}});
    let shape = [2, 3].map(|n| NonZeroU64::new(n).expect("some"));
    // The array [[1, 2, 3], [4, 5, 6]] is, transposed to three rows of two, 1 4 2 5 3 6; then
    // 1 3 -2 3 -2 3; and then, transposed back to two rows of three, 1 -2 -2 and 3 3 3.
    let list = json!([transpose, delta, {"name": "transpose", "configuration": {"order": [1.0, "0"]}},
        "bytes"]);
    let encoded = vec![1, 254, 254, 3, 3, 3];
    let codecs = NamedCodec::list_v3(&list).expect("codecs");
    let chain = BoundedChain::new(&codecs, &shape, SourceType::U16).expect("known codecs");
    let decoded = chain.decode_blob(&File(encoded)).expect("decodes");
    assert_eq!(decoded, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
}

#[test]
fn codecs_that_are_not_decoded_are_refused_by_name() {
    let refused = |list: Value, name: &str| {
        let codecs = NamedCodec::list_v3(&list).expect("codecs");
        let shape = [NonZeroU64::new(8).expect("some")];
        let error = UnitCodec::new(&codecs, &shape, SourceType::U16).expect_err(name).to_string();
        assert!(error.contains("codec") && error.contains(name), "{error}");
    };
    refused(json!(["bytes", "numcodecs.categorize"]), "numcodecs.categorize");
    refused(json!(["bytes", "imagecodecs_jpegxl"]), "imagecodecs_jpegxl");
    refused(json!(["zfp"]), "zfp");
    refused(json!(["numcodecs.zfpy"]), "numcodecs.zfpy");
    let sharding = json!({"name": "sharding_indexed", "configuration": {"chunk_shape": [4]}});
    refused(json!(["numcodecs.delta", sharding]), "numcodecs.delta before sharding_indexed");
    refused(json!([sharding, "gzip"]), "gzip after sharding_indexed");
    let cast = |member: &str, value: Value| {
        json!({"name": "cast_value", "configuration":
        {"data_type": "uint8", member: value}})
    };
    refused(json!([cast("scale", json!(2)), "bytes"]), "scale");
    refused(json!([{"name": "packbits", "configuration": {"start_bit": 1}}]), "start_bit");
    refused(json!(["gzip", "bytes"]), "gzip");
    refused(json!(["bytes", {"name": "unknown", "must_understand": false}]), "unknown");
    // zarr-python cannot read these either.
    let delta = json!({"name": "numcodecs.delta", "configuration": {"dtype": ">u2"}});
    refused(json!([delta, "bytes"]), "numcodecs.delta");
    let delta = json!({"name": "numcodecs.delta", "configuration": {"dtype": "<u4"}});
    refused(json!([delta, "bytes"]), "numcodecs.delta");
}

#[test]
fn hostile_configurations_are_refused() {
    let shape = [NonZeroU64::new(8).expect("some")];
    let of_v2 = |filter: Value| {
        let mut codecs = vec![little_endian()];
        codecs.extend(NamedCodec::filters_v2(&json!([filter])).expect("a filter"));
        UnitCodec::new(&codecs, &shape, SourceType::U16)
    };
    let scale = |scale: Value| json!({"id": "fixedscaleoffset", "scale": scale, "offset": 0, "dtype": "<u2"});
    assert!(of_v2(scale(json!(1))).is_ok());
    for scale in [scale(json!(0)), scale(json!("NaN")), scale(json!(null))] {
        assert!(of_v2(scale.clone()).is_err(), "{scale}");
    }
    assert!(of_v2(json!({"id": "shuffle", "elementsize": 1e18})).is_err());
    assert!(of_v2(json!({"id": "shuffle", "elementsize": -1})).is_err());
    assert!(of_v2(json!({"id": "delta", "dtype": "|O"})).is_err());
    assert!(of_v2(json!({"id": "delta", "dtype": "|b1"})).is_err());
    assert!(of_v2(json!({"id": "delta"})).is_err());
    assert!(of_v2(json!({"id": "astype", "decode_dtype": "<u2"})).is_err());
    assert!(of_v2(json!({"id": "crc32", "location": 3})).is_err());
    let many = Value::Array(vec![json!({"id": "zlib"}); 33]);
    assert!(NamedCodec::filters_v2(&many).is_err());
    let list = json!([{"name": "transpose", "configuration": {"order": [1]}}, "bytes"]);
    let codecs = NamedCodec::list_v3(&list).expect("codecs");
    assert!(UnitCodec::new(&codecs, &shape, SourceType::U16).is_err());
}

#[test]
fn no_compressor_is_spelt_in_many_ways() {
    for nothing in [json!(null), json!({}), json!(false), json!(""), json!([])] {
        assert_eq!(NamedCodec::compressor_v2(&nothing), Ok(None), "{nothing}");
        assert_eq!(NamedCodec::filters_v2(&nothing), Ok(Vec::new()), "{nothing}");
    }
    let zlib = NamedCodec::compressor_v2(&json!("zlib")).expect("a compressor").expect("some");
    assert_eq!(zlib.name, "zlib");
    for other in [json!(3), json!(true), json!({"level": 1}), json!([{"id": "zlib"}])] {
        assert!(NamedCodec::compressor_v2(&other).is_err(), "{other}");
    }
}

struct NoCache;

impl IndexCache for NoCache {
    fn index(
        &self,
        _: (u64, u64),
        decode: &mut dyn FnMut() -> Result<Vec<u64>, DecodeError>,
    ) -> Result<Arc<Vec<u64>>, DecodeError> {
        decode().map(Arc::new)
    }
}

#[test]
fn inner_codecs_of_shards_have_the_same_names() {
    let shard = json!([{"name": "sharding_indexed", "configuration": {
        "chunk_shape": [4.0],
        "codecs": [{"name": "numcodecs.delta", "configuration": {"dtype": "<u2"}}, "bytes",
            "numcodecs.adler32"],
    }}]);
    let codecs = NamedCodec::list_v3(&shard).expect("codecs");
    let shape = [NonZeroU64::new(8).expect("some")];
    let codec = UnitCodec::new(&codecs, &shape, SourceType::U16).expect("known codecs");
    assert_eq!(codec.unit_shape(), [4]);
    // Adler-32 of 5 0 1 0 1 0 1 0: the sums are 9 and 60.
    let mut file = vec![9, 0, 60, 0, 5, 0, 1, 0, 1, 0, 1, 0];
    let entries = [0_u64, 12, u64::MAX, u64::MAX];
    let index: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    file.extend_from_slice(&index);
    file.extend(crc32c::crc32c(&index).to_le_bytes());
    let file = File(file);
    let unit = codec.read_unit(&file, 0, &[0], &NoCache).expect("decodes").expect("stored");
    assert_eq!(unit, [5, 0, 6, 0, 7, 0, 8, 0]);
    assert!(codec.read_unit(&file, 0, &[1], &NoCache).expect("decodes").is_none());
}

/// Codecs, type, what zarr-python wrote, what it reads; all arrays are of 4 x 3 numbers.
fn golden_v3() -> Vec<(String, UnitCodec, Vec<u8>, Vec<u8>)> {
    let lines = include_str!("golden_v3.tsv").lines().filter(|line| !line.starts_with('#'));
    let cases = lines.map(|line| {
        let parts: Vec<&str> = line.split('\t').collect();
        let [codecs, kind, encoded, decoded] = parts[..] else { panic!("four parts: {line}") };
        let list = serde_json::from_str(codecs).expect("JSON");
        let list = NamedCodec::list_v3(&list).expect("a list of codecs");
        let kind = SourceType::from_zarr_v3(kind).expect("a type");
        let shape = [4, 3].map(|n| NonZeroU64::new(n).expect("some"));
        let codec = UnitCodec::new(&list, &shape, kind)
            .unwrap_or_else(|error| panic!("{codecs} of {}: {error}", kind.name()));
        (format!("{codecs} of {}", kind.name()), codec, bytes(encoded), bytes(decoded))
    });
    cases.collect()
}

/// All units of the chunk, one after the other.
fn units(codec: &UnitCodec, file: &File) -> Result<Vec<u8>, DecodeError> {
    let rows = codec.unit_shape()[0];
    assert_eq!(codec.unit_shape()[1], 3);
    let mut all = Vec::new();
    for at in 0..4 / rows {
        let unit = codec.read_unit(file, 0, &[at, 0], &NoCache)?;
        all.extend(unit.expect("stored"));
    }
    Ok(all)
}

#[test]
fn arrays_of_zarr_python_are_decoded_as_it_does() {
    let cases = golden_v3();
    assert!(cases.len() > 200);
    for (name, codec, encoded, decoded) in cases {
        let found = units(&codec, &File(encoded));
        assert_eq!(found.unwrap_or_else(|error| panic!("{name}: {error}")), decoded, "{name}");
    }
}

/// Whether damaged bytes were noticed; what decodes has the length that it must have.
#[track_caller]
fn decodes_to(decoded: Result<Vec<u8>, DecodeError>, len: usize) {
    if let Ok(decoded) = decoded {
        assert_eq!(decoded.len(), len);
    }
}

#[test]
fn every_flipped_bit_is_an_error_or_gives_as_many_numbers() {
    for (configuration, encoded, decoded) in golden() {
        let mut codecs = vec![little_endian()];
        codecs.extend(NamedCodec::filters_v2(&json!([configuration])).expect("a filter"));
        let chain = chain(&codecs, SourceType::U8, decoded.len());
        for at in 0..encoded.len().min(400) {
            for bit in [0, 3, 7] {
                let mut damaged = encoded.clone();
                damaged[at] ^= 1 << bit;
                decodes_to(chain.decode_blob(&File(damaged)), decoded.len());
            }
        }
    }
    for (_, codec, encoded, decoded) in golden_v3() {
        for at in 0..encoded.len() {
            let mut damaged = encoded.clone();
            damaged[at] ^= 0x11;
            decodes_to(units(&codec, &File(damaged)), decoded.len());
        }
    }
}

#[test]
fn names_are_known_in_whatever_spelling() {
    let shape = [NonZeroU64::new(8).expect("some")];
    let known = |list: Value| {
        let codecs = NamedCodec::list_v3(&list).expect("codecs");
        UnitCodec::new(&codecs, &shape, SourceType::U16).map(|_| ())
    };
    for codec in [
        json!("lz4"),
        json!("LZ4"),
        json!("numcodecs.LZ4"),
        json!("https://zarr.dev/numcodecs/lz4"),
        json!({"name": "numcodecs.lz4", "configuration": {"id": "lz4", "acceleration": 1}}),
        json!({"id": "lz4", "acceleration": 1}),
        json!({"name": "numcodecs.blosc", "configuration": {"cname": "zstd"}}),
        json!({"name": "blosc", "configuration": {}}),
        json!("numcodecs.zstd"),
        json!("https://codec.zarrs.dev/bytes_to_bytes/bz2"),
    ] {
        assert_eq!(known(json!(["bytes", codec])), Ok(()), "{codec}");
    }
    assert_eq!(known(json!(["Bytes", "GZip"])), Ok(()));
    assert_eq!(known(json!([{"id": "delta", "dtype": "<u2"}, "numcodecs.pcodec"])), Ok(()));
}
