//! Zip files for tests.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::path::EntryPath;
use rawzip::{CompressionMethod, ZipArchiveWriter};

use super::directory::Method;

/// A zip file with these members, in this order, whatever their names.
pub(in crate::source::storage) fn zip<N: AsRef<[u8]>, B: AsRef<[u8]>>(
    members: impl IntoIterator<Item = (N, B)>,
    deflate: bool,
) -> Vec<u8> {
    let method = if deflate { Method::Deflated } else { Method::Stored };
    zip_by(members.into_iter().map(|(name, bytes)| (name, bytes, method)))
}

/// The same, each member stored by a method of its own.
pub(super) fn zip_by<N: AsRef<[u8]>, B: AsRef<[u8]>>(
    members: impl IntoIterator<Item = (N, B, Method)>,
) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, bytes, method) in members {
        let number = match method {
            Method::Stored | Method::Encrypted => CompressionMethod::from(0),
            Method::Deflated => CompressionMethod::from(8),
            Method::Other(number) => CompressionMethod::from(number),
        };
        let path = EntryPath::verbatim(name.as_ref());
        let file = archive.new_file(path).compression_method(number);
        let (mut entry, config) =
            file.encrypted(method == Method::Encrypted).start().expect("a name");
        let descriptor = if method == Method::Deflated {
            let encoder = DeflateEncoder::new(&mut entry, Compression::default());
            let mut writer = config.wrap(encoder);
            writer.write_all(bytes.as_ref()).expect("in memory");
            let (encoder, descriptor) = writer.finish().expect("in memory");
            encoder.finish().expect("in memory");
            descriptor
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(bytes.as_ref()).expect("in memory");
            writer.finish().expect("in memory").1
        };
        entry.finish(descriptor).expect("in memory");
    }
    archive.finish().expect("in memory")
}
