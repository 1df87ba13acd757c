//! A safe fence around the calls of the HDF5 C library that make a skeleton.
//!
//! The safe crate writes strings space- or null-padded and offers no file image, no heap size
//! hint and no object address, so this file calls the library itself: the one place of the layer
//! with `unsafe` code. Every call runs under the crate's global lock, as the library is not
//! thread-safe. Every identifier is owned by a value that closes it, and the lifetimes below keep
//! a file open longer than what was opened in it.
//!
//! All that is written lies in the oldest layout (superblock 0, version 1 object headers, symbol
//! tables), which most programs read, and packed end to end: with the library's block allocation
//! switched off, the length of the file is the sum of the lengths of its structures.

use std::ffi::CString;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_metno::file::LibraryVersion;
use hdf5_metno::globals::{H5P_DATASET_CREATE, H5P_GROUP_CREATE};
use hdf5_metno::{h5check, sync::sync};
use hdf5_metno_sys::h5::{herr_t, hsize_t};
use hdf5_metno_sys::h5a::{H5Aclose, H5Acreate2, H5Awrite};
use hdf5_metno_sys::h5d::{H5D_fill_time_t, H5Dclose, H5Dcreate2, H5Dwrite};
use hdf5_metno_sys::h5f::H5Fget_file_image;
use hdf5_metno_sys::h5g::{H5Gclose, H5Gcreate2};
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5o::{self, H5O_info1_t};
use hdf5_metno_sys::h5p::{
    H5P_DEFAULT, H5Pclose, H5Pcreate, H5Pset_chunk, H5Pset_fill_time, H5Pset_filter,
    H5Pset_local_heap_size_hint, H5Pset_obj_track_times,
};
use hdf5_metno_sys::h5s::{H5S_ALL, H5Sclose, H5Screate_simple};
use hdf5_metno_sys::h5t::{
    H5T_C_S1, H5T_IEEE_F32LE, H5T_STD_I16LE, H5T_STD_U8LE, H5T_STD_U16LE, H5T_STD_U32LE,
    H5T_STD_U64LE,
};

use hdf5_metno_sys::h5z::H5Z_FLAG_OPTIONAL;

use super::packing::Filter;
use super::{ImsError, VoxelType};

/// The types a stored element can have. Buffers hold elements in exactly this form, so the
/// library converts nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Element {
    /// One byte of text. A string of size 1, null-terminated, ASCII: readers that ask for the
    /// same type get the bytes only if nothing needs conversion (`ImarisWriter`
    /// `bpWriterHDF5.cxx`, `WriteAttributeT`).
    Text,
    U32,
    U64,
    Voxel(VoxelType),
}

impl Element {
    const fn bytes(self) -> usize {
        match self {
            Self::Text => 1,
            Self::U32 => 4,
            Self::U64 => 8,
            Self::Voxel(voxel) => voxel.bytes(),
        }
    }

    /// The library's predefined type; valid once the library is open, which [`sync`] ensures.
    fn id(self) -> hid_t {
        match self {
            Self::Text => *H5T_C_S1,
            Self::U32 | Self::Voxel(VoxelType::U32) => *H5T_STD_U32LE,
            Self::U64 => *H5T_STD_U64LE,
            Self::Voxel(VoxelType::U8) => *H5T_STD_U8LE,
            Self::Voxel(VoxelType::U16) => *H5T_STD_U16LE,
            Self::Voxel(VoxelType::I16) => *H5T_STD_I16LE,
            Self::Voxel(VoxelType::F32) => *H5T_IEEE_F32LE,
        }
    }
}

/// An identifier of the library, closed when dropped.
struct Id {
    raw: hid_t,
    close: unsafe extern "C" fn(hid_t) -> herr_t,
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: `raw` was returned valid by the call that `close` belongs to and is closed
        // nowhere else. A failure to close leaves nothing to do.
        sync(|| unsafe { (self.close)(self.raw) });
    }
}

/// Runs one library call under the lock and says what failed. Closures check the result of a raw
/// call with [`h5check`], which reads the thread's error stack, before the lock is released.
fn call<T>(
    action: &'static str,
    object: &str,
    call: impl FnOnce() -> hdf5_metno::Result<T>,
) -> Result<T, ImsError> {
    sync(call).map_err(|source| ImsError::Hdf5 { action, object: object.to_owned(), source })
}

/// An HDF5 file in memory, with no file on disk behind it.
pub(super) struct MemoryFile {
    file: hdf5_metno::File,
}

impl MemoryFile {
    /// Creates an empty file. `growth_bytes` is the step in which its buffer grows.
    pub(super) fn create(growth_bytes: usize) -> Result<Self, ImsError> {
        // The library first tries to open the name as a file on disk: this one cannot exist. And
        // it takes two files in memory for the same one if they have the same name.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = &format!("/dev/null/skeleton-{}.ims", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut options = hdf5_metno::File::with_options();
        options.fcpl().obj_track_times(false);
        options
            .fapl()
            .core_options(growth_bytes, false)
            // Stated, since the default of the library differs between its versions.
            .libver_bounds(LibraryVersion::Earliest, LibraryVersion::latest())
            .meta_block_size(0)
            .small_data_block_size(0);
        let file = call("create", name, || options.create(name))?;
        Ok(Self { file })
    }

    /// The root group.
    pub(super) fn root(&self) -> Group<'_> {
        Group { id: GroupId::Root(self.file.id()), file: PhantomData }
    }

    /// The bytes of the file. Taking `self`, with no group borrowed from it, means that nothing
    /// is still being written.
    pub(super) fn into_image(self) -> Result<Vec<u8>, ImsError> {
        call("flush", "skeleton", || self.file.flush())?;
        let id = self.file.id();
        let len = call("measure", "skeleton", || {
            // SAFETY: a null buffer of length 0 asks for the length and writes nothing.
            h5check(unsafe { H5Fget_file_image(id, std::ptr::null_mut(), 0) })
        })?;
        let mut image = vec![0_u8; usize::try_from(len).unwrap_or(0)];
        call("copy", "skeleton", || {
            // SAFETY: the buffer is writable for exactly the length passed, and the library fails
            // rather than write more.
            h5check(unsafe { H5Fget_file_image(id, image.as_mut_ptr().cast(), image.len()) })
        })?;
        Ok(image)
    }
}

/// The root group is addressed by the file's own identifier.
enum GroupId {
    Root(hid_t),
    Child(Id),
}

/// A group of a [`MemoryFile`] that is still open.
pub(super) struct Group<'file> {
    id: GroupId,
    file: PhantomData<&'file MemoryFile>,
}

impl<'file> Group<'file> {
    fn raw(&self) -> hid_t {
        match &self.id {
            GroupId::Root(raw) => *raw,
            GroupId::Child(id) => id.raw,
        }
    }

    /// Creates a group in this one. `heap_bytes` is room for the names of everything that will be
    /// linked into it: a heap that need not grow leaves no hole behind.
    pub(super) fn create_group(
        &self,
        name: &str,
        heap_bytes: usize,
    ) -> Result<Group<'file>, ImsError> {
        let plist = create_plist(*H5P_GROUP_CREATE, name)?;
        call("size heap of", name, || {
            // SAFETY: `plist` is an open group creation property list.
            h5check(unsafe { H5Pset_local_heap_size_hint(plist.raw, heap_bytes) })
        })?;
        let c_name = c_name(name);
        let raw = call("create group", name, || {
            // SAFETY: the location and the property list are open, the name is a C string.
            h5check(unsafe {
                H5Gcreate2(self.raw(), c_name.as_ptr(), H5P_DEFAULT, plist.raw, H5P_DEFAULT)
            })
        })?;
        Ok(Group { id: GroupId::Child(Id { raw, close: H5Gclose }), file: PhantomData })
    }

    /// Writes an attribute of rank 1.
    pub(super) fn write_attribute(
        &self,
        name: &str,
        element: Element,
        data: &[u8],
    ) -> Result<(), ImsError> {
        let space = create_space(name, element, &[data.len() / element.bytes()], data)?;
        let c_name = c_name(name);
        let raw = call("create attribute", name, || {
            // SAFETY: location, type and dataspace are open, the name is a C string.
            h5check(unsafe {
                H5Acreate2(
                    self.raw(),
                    c_name.as_ptr(),
                    element.id(),
                    space.raw,
                    H5P_DEFAULT,
                    H5P_DEFAULT,
                )
            })
        })?;
        let attribute = Id { raw, close: H5Aclose };
        call("write attribute", name, || {
            // SAFETY: `create_space` checked that `data` holds every element of the dataspace, and
            // the memory type is the stored type.
            h5check(unsafe { H5Awrite(attribute.raw, element.id(), data.as_ptr().cast()) })
        })?;
        Ok(())
    }

    /// Writes a contiguous dataset.
    pub(super) fn write_dataset(
        &self,
        name: &str,
        element: Element,
        shape: &[usize],
        data: &[u8],
    ) -> Result<(), ImsError> {
        let space = create_space(name, element, shape, data)?;
        let plist = create_plist(*H5P_DATASET_CREATE, name)?;
        let dataset = self.create_dataset(name, element, &space, &plist)?;
        call("write dataset", name, || {
            // SAFETY: `create_space` checked that `data` holds every element of the dataspace, and
            // the memory type is the stored type.
            h5check(unsafe {
                H5Dwrite(
                    dataset.raw,
                    element.id(),
                    H5S_ALL,
                    H5S_ALL,
                    H5P_DEFAULT,
                    data.as_ptr().cast(),
                )
            })
        })?;
        Ok(())
    }

    /// Creates a chunked dataset of rank 3 without a chunk, perhaps with a filter, and returns the address of its
    /// object header.
    pub(super) fn create_chunked(
        &self,
        name: &str,
        voxel: VoxelType,
        shape: [u64; 3],
        chunk: [u64; 3],
        filter: Option<Filter>,
    ) -> Result<u64, ImsError> {
        let plist = create_plist(*H5P_DATASET_CREATE, name)?;
        call("set chunk shape of", name, || {
            // SAFETY: `plist` is an open dataset creation property list and `chunk` has the three
            // elements the rank announces.
            h5check(unsafe { H5Pset_chunk(plist.raw, 3, chunk.as_ptr()) })
        })?;
        call("set fill time of", name, || {
            // SAFETY: `plist` is an open dataset creation property list.
            h5check(unsafe { H5Pset_fill_time(plist.raw, H5D_fill_time_t::H5D_FILL_TIME_NEVER) })
        })?;
        if let Some(Filter { id, value }) = filter {
            call("set filter of", name, || {
                // Optional: the library need not know the filter.
                // SAFETY: `plist` is an open dataset creation property list, and `value` is the one value that is
                // announced.
                h5check(unsafe {
                    H5Pset_filter(plist.raw, id, H5Z_FLAG_OPTIONAL, 1, &raw const value)
                })
            })?;
        }
        let space = create_space_of(name, &shape)?;
        let dataset = self.create_dataset(name, Element::Voxel(voxel), &space, &plist)?;
        let mut info = H5O_info1_t::default();
        #[expect(deprecated, reason = "the replacement hides addresses behind opaque tokens")]
        call("locate", name, || {
            // SAFETY: `info` is the structure this call fills, and outlives it.
            h5check(unsafe { h5o::H5Oget_info1(dataset.raw, &raw mut info) })
        })?;
        Ok(info.addr)
    }

    fn create_dataset(
        &self,
        name: &str,
        element: Element,
        space: &Id,
        plist: &Id,
    ) -> Result<Id, ImsError> {
        let c_name = c_name(name);
        let raw = call("create dataset", name, || {
            // SAFETY: location, type, dataspace and property list are open, the name is a C string.
            h5check(unsafe {
                H5Dcreate2(
                    self.raw(),
                    c_name.as_ptr(),
                    element.id(),
                    space.raw,
                    H5P_DEFAULT,
                    plist.raw,
                    H5P_DEFAULT,
                )
            })
        })?;
        Ok(Id { raw, close: H5Dclose })
    }
}

/// A creation property list of `class` for an object that records no times: equal input must
/// give equal bytes.
fn create_plist(class: hid_t, name: &str) -> Result<Id, ImsError> {
    // SAFETY: `class` is one of the library's own property list classes.
    let raw = call("describe", name, || h5check(unsafe { H5Pcreate(class) }))?;
    let plist = Id { raw, close: H5Pclose };
    call("untrack times of", name, || {
        // SAFETY: `plist` is an open object creation property list.
        h5check(unsafe { H5Pset_obj_track_times(plist.raw, 0) })
    })?;
    Ok(plist)
}

/// A simple dataspace whose elements `data` holds, all of them and no more.
fn create_space(
    name: &str,
    element: Element,
    shape: &[usize],
    data: &[u8],
) -> Result<Id, ImsError> {
    assert_eq!(
        shape.iter().product::<usize>() * element.bytes(),
        data.len(),
        "the buffer of {name:?} fits its shape"
    );
    let shape: Vec<hsize_t> = shape.iter().map(|&side| side as hsize_t).collect();
    create_space_of(name, &shape)
}

fn create_space_of(name: &str, shape: &[hsize_t]) -> Result<Id, ImsError> {
    let rank = i32::try_from(shape.len()).expect("ranks are 1 to 3");
    // Maximum dimensions are stated, and equal, as in files of ImarisWriter.
    let raw = call("shape", name, || {
        // SAFETY: both pointers are valid for `rank` elements.
        h5check(unsafe { H5Screate_simple(rank, shape.as_ptr(), shape.as_ptr()) })
    })?;
    Ok(Id { raw, close: H5Sclose })
}

fn c_name(name: &str) -> CString {
    CString::new(name).expect("NUL bytes are dropped where names are made")
}
