//! The mounts that the daemon serves.

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use zarrims::config::MountConfig;
use zarrims::fs::{FileSystem, Tree, TreeConfig, View};
use zarrims::fuse::Adapter;
use zarrims::image::Images;

use super::event::Event;
use super::mount_state::MountState;
use super::source;
use super::state::State;
use super::status::Status;
use crate::control::folder::{ControlFolder, Owner};
use crate::housekeeper::Housekeeper;
use crate::mount::{self, Mount};

pub(super) use mount::is_mounted;

/// How long open files are served after a signal.
const GRACE: Duration = Duration::from_secs(10);

/// A mount and what stands behind it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) number: usize,
    pub(super) mountpoint: Arc<Path>,
    /// `None` once the kernel has let go of the mount.
    shown: Option<Arc<MountState>>,
    daemon: Arc<State>,
    pub(super) config: MountConfig,
    mount: Option<Mount>,
    housekeeper: Option<Housekeeper>,
    /// Hears of the end of the session.
    ended: mpsc::Receiver<()>,
}

impl Served {
    /// Mounts.
    ///
    /// # Errors
    /// Why that cannot be done, in one line; the mount is not there then.
    pub(super) fn start(
        config: &MountConfig,
        number: usize,
        daemon: &Arc<State>,
    ) -> anyhow::Result<Self> {
        let root = source::open(config)?;
        let images = Images::new(daemon.engine.clone(), config.images);
        let by_hand = config.by_hand.clone();
        let tree = Tree::corrected(root, images.clone(), config.tree, by_hand);
        let tree = tree.context("cannot start threads")?;
        let fs = Arc::new(FileSystem::new(tree));
        let housekeeper = Housekeeper::start({
            let fs = fs.clone();
            move |when| fs.save(when)
        })
        .context("cannot start threads")?;
        let mountpoint: Arc<Path> = config.mountpoint.as_path().into();
        let shown = Arc::new(MountState {
            source: config.source.name().into(),
            mountpoint: mountpoint.clone(),
            since: SystemTime::now(),
            fs,
            images,
        });
        let view = view_of(config, daemon, &shown);
        let (tell_ended, ended) = mpsc::channel();
        let events = daemon.events.clone();
        let adapter = Adapter::new(view, move || {
            // Nobody may be listening any more.
            let _ = tell_ended.send(());
            let _ = events.send(Event::Ended(number));
        });
        let adapter = adapter.context("cannot start threads")?;
        let mount =
            Mount::new(adapter, &config.source.name(), &config.mountpoint, config.allow_other);
        let mount = mount.map_err(|error| explain(&error, config))?;
        daemon.add(shown.clone());
        Ok(Self {
            number,
            mountpoint,
            shown: Some(shown),
            daemon: daemon.clone(),
            config: config.clone(),
            mount: Some(mount),
            housekeeper: Some(housekeeper),
            ended,
        })
    }

    pub(super) fn is_mounted(&self) -> bool {
        self.mount.is_some()
    }

    /// Takes the mount away, as the configuration wants it. Files that are open are served until they are closed.
    ///
    /// # Errors
    /// Why it cannot be done; it is served on then.
    pub(super) fn leave(&mut self) -> anyhow::Result<()> {
        let Some(mount) = self.mount.take() else { return Ok(()) };
        let path = self.mountpoint.display();
        let is_busy = mount.detach().with_context(|| format!("cannot unmount {path}"))?;
        tracing::info!(mountpoint = %path, is_busy, "taken away, as the configuration says");
        Ok(())
    }

    /// Another program has unmounted it.
    pub(super) fn forget(&mut self) {
        if let Some(mount) = self.mount.take() {
            mount.forget();
        }
        Housekeeper::finish(self.housekeeper.take());
        if let Some(shown) = self.shown.take() {
            self.daemon.remove(&shown);
        }
    }
}

/// What the kernel is shown: the file system, and the control folder where it is wanted.
fn view_of(config: &MountConfig, daemon: &Arc<State>, shown: &Arc<MountState>) -> Arc<dyn View> {
    let fs = shown.fs.clone();
    if !config.control_folder {
        return fs;
    }
    let TreeConfig { uid, gid, umask, .. } = config.tree;
    let (daemon, shown) = (daemon.clone(), shown.clone());
    let tell = move || Status::now_of(&daemon, &shown).texts();
    Arc::new(ControlFolder::new(fs, Owner::new(uid, gid, umask), tell))
}

/// Saves for the last time what a later start can use.
pub(super) fn save_all(mounts: &mut [Served]) {
    Housekeeper::finish(mounts.iter_mut().filter_map(|served| served.housekeeper.take()));
}

/// Unmounts all, and serves files that are open for a while.
///
/// # Errors
/// The first failure; the other mounts are unmounted all the same.
pub(super) fn unmount_all(mounts: &mut [Served]) -> anyhow::Result<()> {
    let mut failure = None;
    let mut detached = Vec::new();
    for served in mounts {
        let Some(mount) = served.mount.take() else { continue };
        match mount.detach() {
            Ok(is_busy) => {
                if is_busy {
                    tracing::warn!(
                        mountpoint = %served.mountpoint.display(),
                        grace_s = GRACE.as_secs(),
                        "files are still open; serving them on; a second signal ends that"
                    );
                }
                detached.push(served);
            }
            Err(error) => {
                let path = served.mountpoint.display();
                let error = anyhow::Error::new(error).context(format!("cannot unmount {path}"));
                failure.get_or_insert(error);
            }
        }
    }
    let until = Instant::now() + GRACE;
    for served in detached {
        let left = until.saturating_duration_since(Instant::now());
        if served.ended.recv_timeout(left).is_err() {
            let mountpoint = served.mountpoint.display();
            tracing::warn!(%mountpoint, "files are still open; their readers will get errors");
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Adds what to do about it.
fn explain(error: &io::Error, config: &MountConfig) -> anyhow::Error {
    let text = error.to_string();
    let text = text.trim();
    let name = &config.names.mountpoint;
    if text.contains("user_allow_other") {
        let flag = &config.names.allow_other;
        return anyhow::anyhow!(
            "{flag}: put the line \"user_allow_other\" into /etc/fuse.conf, or mount as root"
        );
    }
    if let Err(reason) = mount::check_device() {
        return anyhow::anyhow!("{name}: {reason}");
    }
    if error.kind() == io::ErrorKind::NotFound {
        return anyhow::anyhow!("{name}: fusermount3 not found; install the package fuse3");
    }
    anyhow::anyhow!("{name}: cannot mount: {text}")
}
