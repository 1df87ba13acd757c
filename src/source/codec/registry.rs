//! Every codec by its name.
//!
//! A codec has one name, in whatever case: `id` in Zarr v2, `name` in Zarr v3, and there also with the
//! prefixes of [`named`](super::named). To add one, write its file and add its line.

use super::array::{self, ArrayCodec};
use super::cast::{self, Recoded};
use super::decode::Decoder;
use super::filter::{self, Filter};
use super::named::NamedCodec;
use super::number::NumpyType;
use super::{blosc, checksum, compressor, lzma, packbits, pcodec, shuffle, zfpy};
use crate::source::error::Unsupported;
use crate::source::source_type::SourceType;

/// How the configuration of a codec becomes a decoder.
#[derive(Clone, Copy)]
pub(super) enum Reader {
    /// From an array of this number of dimensions to an array or bytes, by `zarrs`.
    Array(fn(&NamedCodec, dimensions: usize) -> Result<ArrayCodec, Unsupported>),
    /// Number by number: in Zarr v3 from an array of the given type, in Zarr v2 from bytes.
    Filter(fn(&NamedCodec, array: Option<NumpyType>) -> Result<Filter, Unsupported>),
    /// Number by number, from an array of the given type, in Zarr v3 only.
    Recode(fn(&NamedCodec, SourceType) -> Result<Recoded, Unsupported>),
    /// From numbers in the byte order of the machine to bytes. In Zarr v3, these are the numbers of an array of
    /// the given type; in Zarr v2, whatever the last codec left.
    Pack(fn(&NamedCodec, array: Option<SourceType>) -> Result<Decoder, Unsupported>),
    /// A filter that drops digits when it encodes, and decodes to what it is given.
    Nothing,
    /// From bytes to bytes, in an array of the given type.
    Bytes(fn(&NamedCodec, SourceType) -> Result<Decoder, Unsupported>),
    /// From bytes to bytes; decoding needs nothing of the configuration.
    Plain(fn() -> Decoder),
}

const CODECS: [(&str, Reader); 26] = [
    ("bytes", Reader::Array(array::bytes)),
    ("transpose", Reader::Array(array::transpose)),
    ("astype", Reader::Filter(filter::astype)),
    ("bitround", Reader::Nothing),
    ("cast_value", Reader::Recode(cast::cast_value)),
    ("delta", Reader::Filter(filter::delta)),
    ("fixedscaleoffset", Reader::Filter(filter::fixed_scale_offset)),
    ("numcodecs.packbits", Reader::Filter(|_, _| Ok(Filter::PACKBITS))),
    ("packbits", Reader::Pack(packbits)),
    ("pcodec", Reader::Pack(pcodec::read)),
    ("quantize", Reader::Filter(filter::quantize)),
    ("scale_offset", Reader::Recode(cast::scale_offset)),
    ("zfpy", Reader::Pack(zfpy::read)),
    ("blosc", Reader::Bytes(blosc::read)),
    ("bz2", Reader::Plain(compressor::bz2)),
    ("gzip", Reader::Plain(compressor::gzip)),
    ("lz4", Reader::Plain(compressor::lz4)),
    ("lzma", Reader::Bytes(lzma::read)),
    ("zlib", Reader::Plain(compressor::zlib)),
    ("zstd", Reader::Plain(compressor::zstd)),
    ("adler32", Reader::Bytes(checksum::adler32)),
    ("crc32", Reader::Bytes(checksum::crc32)),
    ("crc32c", Reader::Bytes(checksum::crc32c)),
    ("fletcher32", Reader::Plain(checksum::fletcher32)),
    ("jenkins_lookup3", Reader::Bytes(checksum::jenkins_lookup3)),
    ("shuffle", Reader::Bytes(shuffle::read)),
];

/// The reader of a codec; `None` if only `zarrs` may know it.
pub(super) fn reader(codec: &NamedCodec) -> Option<Reader> {
    let named = |name: &str| CODECS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let plain = || named(codec.plain_name()).filter(|(_, it)| !matches!(it, Reader::Array(_)));
    named(&codec.name).or_else(plain).map(|(_, reader)| *reader)
}

/// In Zarr v3, a codec from arrays to bytes; in Zarr v2, the filter of numcodecs.
fn packbits(codec: &NamedCodec, array: Option<SourceType>) -> Result<Decoder, Unsupported> {
    match array {
        Some(kind) => packbits::read(codec, kind),
        None => Ok(Box::new(Filter::PACKBITS)),
    }
}
