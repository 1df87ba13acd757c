//! The daemon as a process: its log, its limits, its signals, what a dead one leaves behind.

mod background;
mod chunks;
pub(crate) mod daemon;
mod dead;
mod disk;
mod files;
mod folders;
mod log;
mod signals;
mod threads;
