//! The daemon can be asked what it does, and steered, while it serves.

pub(crate) mod asked;
mod evict;
mod folder;
mod kept;
mod listen;
mod logs;
mod reload;
mod verify;
mod warm;
