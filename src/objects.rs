//! Objects of other machines: those of an object store (S3, Google Cloud Storage, Azure Blob Storage), the
//! files of a web server, and, for tests and shared caches, those below a folder of this machine.
//!
//! [`Address`] says where they lie, [`Options`] how to get there, [`Objects`] reads, lists and writes them.
//! All calls block their thread, as all of this program does; a small runtime, which starts with the first
//! [`Objects`], moves the bytes. A call ends in time: it has a deadline, within which it is tried again
//! ([`patience`]). A fault has one of a few kinds ([`Fault`]), and its text never holds a credential.
//!
//! This room knows nothing of what the objects mean.

mod address;
mod client;
mod connect;
mod fault;
mod network;
mod page;
mod patience;
mod state;
mod watch;

pub use address::{Address, Service, redacted};
pub use client::{Got, Object, Objects};
pub use connect::{Addressing, Options};
pub use fault::{Fault, ObjectError};
pub use network::{DEFAULT_CONNECTIONS, connect_at_most, connections};
pub use page::{Page, PageOf};
pub use state::ObjectState;
