//! Settings that have been compared with the machine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::by_hand::Tables;
use crate::fs::TreeConfig;
use crate::image::{CacheConfig, EngineConfig, ImageOptions};
use crate::resources::shares::Shares;
use crate::shared_cache::SharedCacheConfig;

use super::source::Source;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The disk cache, which all mounts share.
    pub cache: CacheSettings,
    /// The cache that other daemons use, too.
    pub shared: Option<SharedCacheConfig>,
    /// What all mounts share of the machine.
    pub resources: Resources,
    /// How the daemon is asked.
    pub control: ControlConfig,
    /// At least one.
    pub mounts: Vec<MountConfig>,
}

/// The disk cache.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// Its folder and its limits.
    pub config: CacheConfig,
    /// How errors call the folder.
    pub label: String,
}

/// Memory and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Memory for decoding in bytes.
    pub memory_bytes: u64,
    /// Threads that read and decode.
    pub threads: usize,
    /// Requests to remote sources at a time.
    pub connections: usize,
}

/// How the daemon is asked and steered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlConfig {
    /// Its control socket.
    pub socket: SocketPlace,
    /// Group that may use the socket.
    pub group: Option<u32>,
    /// Where metrics are served.
    pub listen: Option<SocketAddr>,
}

/// Where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketPlace {
    /// Where programs look for it.
    Usual,
    /// At a path.
    At(PathBuf),
    /// There is none.
    Nowhere,
}

/// A mount.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// Where the stores are.
    pub source: Source,
    /// Canonical path of the mount point; empty for a list.
    pub mountpoint: PathBuf,
    /// Let other users in.
    pub allow_other: bool,
    /// Links may lead out of the source folder.
    pub follow_links: bool,
    /// Show the control folder.
    pub control_folder: bool,
    /// Owner, group and mode of what is shown.
    pub tree: TreeConfig,
    /// How images become files.
    pub images: ImageOptions,
    /// What is said of stores by hand.
    pub by_hand: Arc<Tables>,
    /// How errors call its parts.
    pub names: Names,
}

/// How errors call the parts of a mount.
#[derive(Debug, Clone)]
pub struct Names {
    /// The source with its path.
    pub source: String,
    /// The mount point with its path.
    pub mountpoint: String,
    /// The option to let others in.
    pub allow_other: String,
}

impl Resources {
    /// Memory in bytes that the daemon takes in all: the budget, and the shares of its size that come on top.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        Shares::of(self.memory_bytes).total()
    }
}

impl Config {
    /// What the engine needs.
    #[must_use]
    pub fn engine(&self) -> EngineConfig {
        let Resources { memory_bytes, threads, connections: _ } = self.resources;
        EngineConfig {
            cache: Some(self.cache.config.clone()),
            shared: self.shared.clone(),
            memory_bytes,
            threads,
        }
    }
}
