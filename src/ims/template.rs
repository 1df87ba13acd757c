//! Headers of datasets: the HDF5 library writes one of each kind, and it is moved to where a dataset lies.
//!
//! Three fields of a header change: the address of the data or of the chunk index, which the library leaves
//! undefined until something is written, and of texts and histograms the length, in the dataspace and in the
//! layout. Versions of the library differ, so every step is checked and a surprise is an error, never a wrong
//! file.

use super::describe::{ImsFile, VoxelType};
use super::hdf5::{Chunked, Element, MemoryFile};
use super::packing::Packing;
use super::{ImsError, schema};

/// Room for the header of a dataset: prefix and the 256 bytes the library begins with, in which dataspace,
/// datatype, fill value, filter and layout messages of this schema find room.
pub(super) const HEADER_BYTES: u64 = 16 + 256;

/// The address that means "none".
const UNDEFINED_ADDRESS: u64 = u64::MAX;

/// Step in which the buffer of the library grows.
const GROWTH_BYTES: usize = 1 << 16;

/// Object header version 1 and its messages (HDF5 specification, section IV.A.1.a).
mod header {
    /// Version, reserved, message count (2), reference count (4), size (4), padding (4).
    pub(super) const PREFIX_BYTES: usize = 16;
    pub(super) const VERSION: u8 = 1;
    pub(super) const SIZE_AT: usize = 8;
    /// Type (2), size (2), flags (1), reserved (3).
    pub(super) const MESSAGE_PREFIX_BYTES: usize = 8;
    pub(super) const DATASPACE: u16 = 0x0001;
    pub(super) const LAYOUT: u16 = 0x0008;
    pub(super) const CONTINUATION: u16 = 0x0010;
}

/// A dataspace message of version 1 and rank 1 with maximum dimensions (IV.A.2.b).
mod dataspace {
    pub(super) const START: [u8; 3] = [1, 1, 1];
    pub(super) const LENGTH_AT: usize = 8;
    pub(super) const MAXIMUM_AT: usize = 16;
}

/// Data layout messages of version 3 (IV.A.2.i).
mod layout {
    /// Version, class, dimensionality (rank 3 and the element size).
    pub(super) const CHUNKED: [u8; 3] = [3, 2, 4];
    pub(super) const INDEX_AT: usize = 3;
    /// Version, class.
    pub(super) const CONTIGUOUS: [u8; 2] = [3, 1];
    pub(super) const DATA_AT: usize = 2;
    pub(super) const BYTES_AT: usize = 10;
}

/// The header of a dataset without data.
#[derive(Debug, Clone)]
struct Header {
    bytes: Vec<u8>,
    /// Where the bodies of two messages begin.
    dataspace_at: usize,
    layout_at: usize,
}

/// The headers of the datasets of a file.
#[derive(Debug, Clone)]
pub struct Templates {
    /// `Data`, by resolution level.
    data: Vec<Header>,
    bins: Header,
    text: Header,
    thumbnail: Header,
}

impl Templates {
    /// Has the library write them. The thumbnail has [width, height] in pixels.
    ///
    /// # Errors
    /// [`ImsError::Hdf5`] and [`ImsError::Template`]; [`ImsError::Thumbnail`] where its sides are not 1 to 256 pixels.
    pub fn new(file: &ImsFile, [width, height]: [u32; 2]) -> Result<Self, ImsError> {
        let sides = 1..=schema::THUMBNAIL_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(ImsError::Thumbnail { width, height });
        }
        let memory = MemoryFile::create(GROWTH_BYTES)?;
        let filter = file.packing.map(Packing::filter);
        let levels = file.levels.iter().enumerate().map(|(number, level)| {
            let chunked = Chunked { chunk: level.chunk, filter };
            let element = Element::Voxel(file.voxel_type);
            memory.create_dataset(&number.to_string(), element, &level.padded(), Some(chunked))
        });
        let levels = levels.collect::<Result<Vec<u64>, ImsError>>()?;
        let bins = memory.create_dataset("bins", Element::U64, &[1], None)?;
        let text = memory.create_dataset("text", Element::Text, &[1], None)?;
        let pixels = [u64::from(height), 4 * u64::from(width)];
        let byte = Element::Voxel(VoxelType::U8);
        let thumbnail = memory.create_dataset("thumbnail", byte, &pixels, None)?;
        let image = memory.into_image()?;
        let header = |address| Header::find(&image, address);
        let data: Result<_, _> = levels.into_iter().map(header).collect();
        Ok(Self {
            data: data?,
            bins: header(bins)?,
            text: header(text)?,
            thumbnail: header(thumbnail)?,
        })
    }

    /// The header of `Data` of a level, whose chunk index has its root at `root`.
    pub(super) fn data(&self, level: usize, root: u64) -> Result<Vec<u8>, ImsError> {
        let mut header = self.data[level].clone();
        header.set_address(&layout::CHUNKED, layout::INDEX_AT, root)?;
        Ok(header.bytes)
    }

    /// The header of `bins` numbers of 64 bits at `data`.
    pub(super) fn bins(&self, bins: u64, data: u64) -> Result<Vec<u8>, ImsError> {
        self.bins.clone().of_length(bins, 8 * bins, data)
    }

    /// The header of a text of `bytes` bytes at `data`.
    pub(super) fn text(&self, bytes: u64, data: u64) -> Result<Vec<u8>, ImsError> {
        self.text.clone().of_length(bytes, bytes, data)
    }

    /// The header of the thumbnail, whose pixels are at `data`.
    pub(super) fn thumbnail(&self, data: u64) -> Result<Vec<u8>, ImsError> {
        let mut header = self.thumbnail.clone();
        header.set_address(&layout::CONTIGUOUS, layout::DATA_AT, data)?;
        Ok(header.bytes)
    }
}

impl Header {
    /// Finds the header at `address` and its messages.
    fn find(image: &[u8], address: u64) -> Result<Self, ImsError> {
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        let bytes = image.get(start..).unwrap_or_default();
        let size = u32_at(bytes, header::SIZE_AT).map(|size| size as usize);
        let end = size.and_then(|size| size.checked_add(header::PREFIX_BYTES));
        let Some(bytes) = end.and_then(|end| bytes.get(..end)) else {
            return Err(surprise("object header ends behind the file"));
        };
        if bytes[0] != header::VERSION {
            return Err(surprise("object header is not version 1"));
        }
        if bytes.len() as u64 > HEADER_BYTES {
            return Err(surprise("header of a dataset is too long"));
        }
        let (mut dataspace_at, mut layout_at) = (None, None);
        let mut at = header::PREFIX_BYTES;
        while let (Some(kind), Some(len)) = (u16_at(bytes, at), u16_at(bytes, at + 2)) {
            let body = at + header::MESSAGE_PREFIX_BYTES;
            match kind {
                header::DATASPACE => dataspace_at = Some(body),
                header::LAYOUT => layout_at = Some(body),
                header::CONTINUATION => return Err(surprise("header of a dataset is continued")),
                _ => {}
            }
            at = body + usize::from(len);
        }
        match (dataspace_at, layout_at) {
            (Some(dataspace_at), Some(layout_at)) => {
                Ok(Self { bytes: bytes.to_vec(), dataspace_at, layout_at })
            }
            _ => Err(surprise("header of a dataset has no dataspace or no layout")),
        }
    }

    /// Sets the address in a layout message that begins with `start`.
    fn set_address(&mut self, start: &[u8], at: usize, address: u64) -> Result<(), ImsError> {
        if !self.bytes[self.layout_at..].starts_with(start) {
            return Err(surprise("layout of a dataset is not of version 3 or of another class"));
        }
        let field = self.layout_at + at;
        if u64_at(&self.bytes, field) != Some(UNDEFINED_ADDRESS) {
            return Err(surprise("address of a dataset is already set"));
        }
        self.put(field, address)
    }

    /// The header of an array in one piece.
    fn of_length(mut self, elements: u64, bytes: u64, data: u64) -> Result<Vec<u8>, ImsError> {
        if !self.bytes[self.dataspace_at..].starts_with(&dataspace::START) {
            return Err(surprise("dataspace is not of version 1, rank 1, with a maximum"));
        }
        self.set_address(&layout::CONTIGUOUS, layout::DATA_AT, data)?;
        self.put(self.dataspace_at + dataspace::LENGTH_AT, elements)?;
        self.put(self.dataspace_at + dataspace::MAXIMUM_AT, elements)?;
        self.put(self.layout_at + layout::BYTES_AT, bytes)?;
        Ok(self.bytes)
    }

    fn put(&mut self, at: usize, value: u64) -> Result<(), ImsError> {
        let field = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>);
        *field.ok_or(surprise("header of a dataset is too short"))? = value.to_le_bytes();
        Ok(())
    }
}

fn surprise(problem: &'static str) -> ImsError {
    ImsError::Template { problem }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ims::schema::tests::sample;

    #[test]
    fn lengths_and_addresses_are_set_and_nothing_else() {
        let templates = Templates::new(&sample(), [256, 200]).expect("libhdf5 writes them");
        let (one, other) = (templates.bins(1, 8).unwrap(), templates.bins(513, 1 << 40).unwrap());
        let changed: Vec<usize> = (0..one.len()).filter(|&at| one[at] != other[at]).collect();
        assert!((5..=20).contains(&changed.len()), "{changed:?}");
        let thumbnail = templates.thumbnail(77).unwrap();
        assert!(thumbnail.windows(8).any(|field| field == 77_u64.to_le_bytes()));
        assert!(templates.data(1, 99).unwrap() != templates.data(0, 99).unwrap());
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        let mut continued = vec![0; 64];
        continued[0] = 1;
        continued[header::SIZE_AT] = 32;
        continued[header::PREFIX_BYTES] = header::CONTINUATION.to_le_bytes()[0];
        let mut endless = continued.clone();
        endless[header::SIZE_AT..header::SIZE_AT + 4].fill(0xFF);
        let mut other = continued.clone();
        other[0] = 2;
        for image in [vec![], vec![1; 5], continued, endless, other] {
            for address in [0, 8, u64::MAX] {
                assert!(matches!(Header::find(&image, address), Err(ImsError::Template { .. })));
            }
        }
    }
}
