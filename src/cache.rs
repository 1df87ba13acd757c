//! Bricks on disk, under a byte cap, kept across restarts.
//!
//! A brick is a blob of bytes that never changes once it is stored. Its caller names it by image,
//! space and index, and can make it again; so the cache may lose any brick at any time, but must
//! never return a wrong byte and never take more of the disk than its cap.
//!
//! * **Never a wrong byte.** A brick counts as present if the journal says so; the first time a run
//!   uses a brick of an earlier one, its checksum is compared. So nothing needs to be synced while
//!   bricks come and go, and a crash at any point costs bricks, not truth. A slot is never punched
//!   or written while it has a pin or another thread works on it. Replacing or removing a brick is
//!   not synced either: after a power failure the old one may be back, whole. Content that may
//!   change therefore needs another [`ImageId`].
//! * **Never more than the cap.** Bytes are charged before they are written and released after the
//!   punch that frees them. Charged are whole pages, folders, the journal, notes, and for each file
//!   the metadata that the file system counts against it: all that `du` counts. Where the disk is
//!   short of room, the cache shrinks.
//! * **A fault costs speed only.** A full or failing disk, or a folder that was removed, is an error
//!   of one call; the caller serves the bytes it has. [`SteadyCache`] handles these errors for its
//!   callers, and tells its [`Health`].
//!
//! The layers, from the outside in; each uses only those below it:
//!
//! | module | what it is |
//! |---|---|
//! | `steady`, `trouble`, `health` | a cache that survives faults of its disk, and says how it is |
//! | `brick_cache`, `brick` | what callers hold |
//! | `recovery` | the start |
//! | `store` | the protocol between journal, index and files |
//! | `room` | how much of the disk may be used |
//! | `index`, `recency`, `account` | bricks and pins, what goes first, bytes |
//! | `notes`, `directory`, `journal`, `segment` | the files |
//! | [`disk`] | what is asked of the file system |
//! | `version`, `key`, `limits`, `stats`, `error` | words that all of them use |
//!
//! [`SingleFlight`] stands beside them, and `trial`, which tells of a folder what a start would find.

mod account;
mod brick;
mod brick_cache;
mod directory;
pub mod disk;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod health;
mod index;
mod journal;
mod key;
mod limits;
mod notes;
mod recency;
mod recovery;
mod room;
mod segment;
mod single_flight;
mod stats;
mod steady;
mod store;
#[cfg(test)]
mod testing;
mod trial;
mod trouble;
mod version;

pub use brick::{BrickWriter, Check, PinnedBrick};
pub use brick_cache::BrickCache;
pub use error::CacheError;
pub use health::{CacheStatus, Health, Outage};
pub use key::{BrickKey, ImageId, Slot};
pub use limits::{CacheLimits, MinFree};
pub use single_flight::{Role, SingleFlight, Ticket, Waiter};
pub use stats::{CacheStats, Removed, Tally};
pub use steady::SteadyCache;
pub use trial::{can_punch_holes, owner};
pub use version::{FORMAT_VERSION, folder_name};
