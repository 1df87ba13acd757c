//! The daemon as a process: its log, its limits, its signals, what a dead one leaves behind.

mod common;

#[path = "process/chunks.rs"]
mod chunks;
#[path = "process/daemon.rs"]
mod daemon;
#[path = "process/dead.rs"]
mod dead;
#[path = "process/disk.rs"]
mod disk;
#[path = "process/files.rs"]
mod files;
#[path = "process/folders.rs"]
mod folders;
#[path = "process/log.rs"]
mod log;
#[path = "process/signals.rs"]
mod signals;
#[path = "process/threads.rs"]
mod threads;
