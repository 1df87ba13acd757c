//! The daemon can be asked what it does, and steered, while it serves.

pub(crate) mod asked;
mod folder;
mod listen;
mod logs;
mod reload;
