//! Zarr stores as Imaris files, without converting anything.
//!
//! `zarrims-mount SOURCE MOUNTPOINT` shows every Zarr store below a folder as an `.ims` file of its
//! exact final size. The bytes of such a file are laid out from the store's metadata alone and
//! produced when they are first read. The layers, of which each knows only those below it:
//!
//! ```text
//! (binary)   wiring, readiness, signals, unmount
//! fuse       the FUSE protocol
//! fs         names, inodes, handles
//! image      one virtual file: plan, voxels, levels, reads
//! engine     bricks, produced once and kept in memory and on disk
//! ims        the Imaris schema as HDF5      cache   bricks on disk      source   Zarr and OME-NGFF
//!                                        shared_cache   bricks that several daemons share
//! resources  threads, memory, buffers      objects  object stores and web servers
//! ```
//!
//! `doc/DESIGN.md` tells why it is so.

pub mod allocator;
pub mod by_hand;
pub mod cache;
pub mod cli;
pub mod config;
mod dead_mount;
pub mod descriptors;
pub mod engine;
pub mod export;
pub mod fs;
pub mod fuse;
pub mod image;
pub mod ims;
pub mod log_filter;
mod log_limit;
pub mod objects;
mod resources;
pub mod shared_cache;
pub mod source;
mod sync;
mod words;
