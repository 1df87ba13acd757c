//! A safe fence around the calls of the HDF5 C library that write headers of datasets.
//!
//! The safe crate offers no file image and no object address, so this file calls the library itself: the one place
//! of the layer with `unsafe` code. Every call runs under the crate's global lock, as the library is not
//! thread-safe. Every identifier is owned by a value that closes it.
//!
//! All that is written lies in the oldest layout (superblock 0, version 1 object headers), which most programs
//! read.

use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_metno::file::LibraryVersion;
use hdf5_metno::globals::H5P_DATASET_CREATE;
use hdf5_metno::{h5check, sync::sync};
use hdf5_metno_sys::h5::{herr_t, hsize_t};
use hdf5_metno_sys::h5d::{H5D_fill_time_t, H5Dclose, H5Dcreate2};
use hdf5_metno_sys::h5f::H5Fget_file_image;
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5o::{self, H5O_info1_t};
use hdf5_metno_sys::h5p::{
    H5P_DEFAULT, H5Pclose, H5Pcreate, H5Pset_chunk, H5Pset_fill_time, H5Pset_filter,
    H5Pset_obj_track_times,
};
use hdf5_metno_sys::h5s::{H5Sclose, H5Screate_simple};
use hdf5_metno_sys::h5t::{
    H5T_C_S1, H5T_IEEE_F32LE, H5T_STD_I16LE, H5T_STD_U8LE, H5T_STD_U16LE, H5T_STD_U32LE,
    H5T_STD_U64LE,
};
use hdf5_metno_sys::h5z::H5Z_FLAG_OPTIONAL;

use super::packing::Filter;
use super::{ImsError, VoxelType};

/// The types of the elements of datasets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Element {
    /// One byte of text; see [`AttributeType::Text`](super::header::AttributeType::Text).
    Text,
    U64,
    Voxel(VoxelType),
}

impl Element {
    /// The library's predefined type; valid once the library is open, which [`sync`] ensures.
    fn id(self) -> hid_t {
        match self {
            Self::Text => *H5T_C_S1,
            Self::U64 => *H5T_STD_U64LE,
            Self::Voxel(VoxelType::U8) => *H5T_STD_U8LE,
            Self::Voxel(VoxelType::U16) => *H5T_STD_U16LE,
            Self::Voxel(VoxelType::I16) => *H5T_STD_I16LE,
            Self::Voxel(VoxelType::U32) => *H5T_STD_U32LE,
            Self::Voxel(VoxelType::F32) => *H5T_IEEE_F32LE,
        }
    }
}

/// How the chunks of a dataset are stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunked {
    /// Shape of a chunk, (z, y, x).
    pub(super) chunk: [u64; 3],
    pub(super) filter: Option<Filter>,
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
        let name = &format!("/dev/null/headers-{}.ims", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut options = hdf5_metno::File::with_options();
        options.fcpl().obj_track_times(false);
        options
            .fapl()
            .core_options(growth_bytes, false)
            // Stated, since the default of the library differs between its versions.
            .libver_bounds(LibraryVersion::Earliest, LibraryVersion::latest());
        let file = call("create", name, || options.create(name))?;
        Ok(Self { file })
    }

    /// The bytes of the file.
    pub(super) fn into_image(self) -> Result<Vec<u8>, ImsError> {
        call("flush", "headers", || self.file.flush())?;
        let id = self.file.id();
        let len = call("measure", "headers", || {
            // SAFETY: a null buffer of length 0 asks for the length and writes nothing.
            h5check(unsafe { H5Fget_file_image(id, std::ptr::null_mut(), 0) })
        })?;
        let mut image = vec![0_u8; usize::try_from(len).unwrap_or(0)];
        call("copy", "headers", || {
            // SAFETY: the buffer is writable for exactly the length passed, and the library fails
            // rather than write more.
            h5check(unsafe { H5Fget_file_image(id, image.as_mut_ptr().cast(), image.len()) })
        })?;
        Ok(image)
    }

    /// Creates a dataset without data in the root group, in one piece or chunked, and returns the address of its
    /// object header.
    pub(super) fn create_dataset(
        &self,
        name: &str,
        element: Element,
        shape: &[u64],
        chunked: Option<Chunked>,
    ) -> Result<u64, ImsError> {
        let plist = create_plist(name)?;
        if let Some(chunked) = chunked {
            set_chunks(&plist, name, chunked)?;
        }
        let space = create_space(name, shape)?;
        let c_name = CString::new(name).expect("names of templates have no NUL");
        let raw = call("create dataset", name, || {
            // SAFETY: file, type, dataspace and property list are open, the name is a C string.
            h5check(unsafe {
                H5Dcreate2(
                    self.file.id(),
                    c_name.as_ptr(),
                    element.id(),
                    space.raw,
                    H5P_DEFAULT,
                    plist.raw,
                    H5P_DEFAULT,
                )
            })
        })?;
        let dataset = Id { raw, close: H5Dclose };
        let mut info = H5O_info1_t::default();
        #[expect(deprecated, reason = "the replacement hides addresses behind opaque tokens")]
        call("locate", name, || {
            // SAFETY: `info` is the structure this call fills, and outlives it.
            h5check(unsafe { h5o::H5Oget_info1(dataset.raw, &raw mut info) })
        })?;
        Ok(info.addr)
    }
}

/// A dataset creation property list for an object that records no times: equal input must give equal bytes.
fn create_plist(name: &str) -> Result<Id, ImsError> {
    // SAFETY: the class is one of the library's own.
    let raw = call("describe", name, || h5check(unsafe { H5Pcreate(*H5P_DATASET_CREATE) }))?;
    let plist = Id { raw, close: H5Pclose };
    call("untrack times of", name, || {
        // SAFETY: `plist` is an open object creation property list.
        h5check(unsafe { H5Pset_obj_track_times(plist.raw, 0) })
    })?;
    Ok(plist)
}

fn set_chunks(plist: &Id, name: &str, Chunked { chunk, filter }: Chunked) -> Result<(), ImsError> {
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
            h5check(unsafe { H5Pset_filter(plist.raw, id, H5Z_FLAG_OPTIONAL, 1, &raw const value) })
        })?;
    }
    Ok(())
}

fn create_space(name: &str, shape: &[hsize_t]) -> Result<Id, ImsError> {
    let rank = i32::try_from(shape.len()).expect("ranks are 1 to 3");
    // Maximum dimensions are stated, and equal, as in files of ImarisWriter.
    let raw = call("shape", name, || {
        // SAFETY: both pointers are valid for `rank` elements.
        h5check(unsafe { H5Screate_simple(rank, shape.as_ptr(), shape.as_ptr()) })
    })?;
    Ok(Id { raw, close: H5Sclose })
}
