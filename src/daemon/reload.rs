//! The configuration, read again while the daemon serves: mounts come and go, sizes change, and the mounts that stay
//! are not touched. What is wrong changes nothing.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use zarrims::config::{Config, Given, Merged, MountConfig, Purpose, ServedPoint, is_of_daemon};

use super::serve::Served;
use super::state::State;
use crate::logging;

/// Options of the whole daemon that are changed at once; those of the others need a start.
const AT_ONCE: [&str; 4] = ["cache-size", "min-free", "log-filter", "log-file"];

/// What the daemon serves, and what says so.
pub(super) struct Serving {
    pub(super) given: Given,
    pub(super) merged: Merged,
    pub(super) state: Arc<State>,
    pub(super) mounts: Vec<Served>,
    pub(super) next_number: usize,
}

/// What a reload has done.
#[derive(Default)]
struct Done {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
    settings: Vec<&'static str>,
    needs_start: Vec<&'static str>,
    /// What went wrong on the way.
    failed: Vec<String>,
}

impl Serving {
    /// Mounts.
    ///
    /// # Errors
    /// Why that cannot be done.
    pub(super) fn start(&mut self, config: &MountConfig) -> anyhow::Result<()> {
        let served = Served::start(config, self.next_number, &self.state)?;
        self.next_number += 1;
        self.mounts.push(served);
        Ok(())
    }

    /// Reads the configuration again; what was done, with a line for people in `told`.
    ///
    /// # Errors
    /// What is wrong with it, in one line; nothing has changed then.
    pub(super) fn reload(&mut self) -> Result<Value, String> {
        // Whatever the file says now: another program may have moved the log away.
        Self::open_log(&self.merged)?;
        let merged = self.given.clone().merge().map_err(|mistake| mistake.0)?;
        let points: Vec<ServedPoint> = self.served().map(|served| self.point(served)).collect();
        let config = merged.resolve_beside(Purpose::Mount, &points);
        let config = config.map_err(|mistake| mistake.0)?;
        Self::open_log(&merged)?;
        let mut done = Done::default();
        self.exchange(&merged, &config, &mut done)?;
        self.apply(&merged, &config, &mut done);
        self.merged = merged;
        Ok(done.told(self.given.source.is_some()))
    }

    /// Opens the log file of a configuration.
    ///
    /// # Errors
    /// Why it cannot be opened; lines go where they went before.
    fn open_log(merged: &Merged) -> Result<(), String> {
        let Some(setting) = merged.log_file() else { return Ok(()) };
        let opened = logging::write_to(setting.as_path());
        opened.map_err(|error| setting.mistake(&error.to_string()).0)
    }

    fn served(&self) -> impl Iterator<Item = &Served> {
        self.mounts.iter().filter(|served| served.is_mounted())
    }

    fn point(&self, served: &Served) -> ServedPoint {
        let canonical = served.config.mountpoint.clone();
        let of_mount = |name: &&zarrims::config::MergedMount| {
            name.mountpoint.as_ref().is_some_and(|point| {
                std::path::absolute(point.as_path()).is_ok_and(|path| path == canonical)
                    || served.config.names.mountpoint == point.named()
            })
        };
        let given = self.merged.mounts.iter().find(of_mount);
        let given = given.and_then(|mount| mount.mountpoint.as_ref());
        let given = given.map_or_else(|| canonical.clone(), |point| point.as_path().to_path_buf());
        ServedPoint { given, canonical }
    }

    /// Mounts what is new, then takes away what is not wanted any more.
    ///
    /// # Errors
    /// Why a new mount cannot be made; nothing has changed then.
    fn exchange(
        &mut self,
        merged: &Merged,
        config: &Config,
        done: &mut Done,
    ) -> Result<(), String> {
        let wanted: Vec<_> = merged.mounts.iter().zip(&config.mounts).collect();
        let is_at = |path: &Path| self.served().any(|served| *served.mountpoint == *path);
        let (old, new): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(_, mount)| is_at(&mount.mountpoint));
        let before = self.mounts.len();
        for (_, mount) in &new {
            if let Err(error) = self.start(mount) {
                for mut served in self.mounts.drain(before..) {
                    // It was made a moment ago; whoever uses it already is served to the end.
                    drop(served.leave());
                    served.forget();
                }
                return Err(format!("{error:#}; nothing has changed"));
            }
            done.added.push(shown(&mount.mountpoint));
        }
        let stays = |served: &Served| {
            let is_wanted = |mount: &MountConfig| *served.mountpoint == mount.mountpoint;
            config.mounts.iter().any(is_wanted)
        };
        for served in &mut self.mounts {
            if served.is_mounted() && !stays(served) {
                match served.leave() {
                    Ok(()) => done.removed.push(shown(&served.mountpoint)),
                    Err(error) => done.failed.push(format!("{error:#}")),
                }
            }
        }
        for (merged, mount) in old {
            let was = self.merged.mounts.iter().find(|was| was.is_same(merged));
            if was.is_none() {
                self.replace(mount, done);
            }
        }
        Ok(())
    }

    /// Makes a mount with other options in the place of the one that is there.
    fn replace(&mut self, mount: &MountConfig, done: &mut Done) {
        let is_it =
            |served: &&mut Served| served.is_mounted() && *served.mountpoint == *mount.mountpoint;
        let Some(served) = self.mounts.iter_mut().find(is_it) else { return };
        let was = served.config.clone();
        let left = served.leave();
        match left.and_then(|()| self.start(mount)) {
            Ok(()) => done.changed.push(shown(&mount.mountpoint)),
            Err(error) => {
                done.failed.push(format!("{error:#}"));
                let is_gone = !self.served().any(|served| *served.mountpoint == *mount.mountpoint);
                if is_gone && let Err(error) = self.start(&was) {
                    done.failed.push(format!("{error:#}"));
                }
            }
        }
    }

    /// Changes what can be changed at once.
    fn apply(&self, merged: &Merged, config: &Config, done: &mut Done) {
        let changed = merged.settings.differences(&self.merged.settings);
        let changed = changed.into_iter().filter(|name| is_of_daemon(name));
        // The log does not go back to standard error.
        let is_at_once = |name: &&'static str| {
            AT_ONCE.contains(name) && (*name != "log-file" || merged.log_file().is_some())
        };
        (done.settings, done.needs_start) = changed.partition(is_at_once);
        let has = |name| done.settings.contains(&name);
        if (has("cache-size") || has("min-free"))
            && let Some(cache) = self.state.engine.cache()
        {
            cache.set_limits(config.cache.config.limits);
        }
        if has("log-filter")
            && !logging::is_filter_given()
            && let Err(error) = logging::filter::set(merged.log_filter().unwrap_or("info"))
        {
            done.failed.push(error);
        }
    }
}

impl Done {
    fn told(self, is_plain: bool) -> Value {
        let Self { added, removed, changed, settings, needs_start, failed } = self;
        let lists = [
            ("mounted", added.join(", ")),
            ("unmounted", removed.join(", ")),
            ("mounted with other options", changed.join(", ")),
            ("changed", settings.join(", ")),
            ("changed by the next start only", needs_start.join(", ")),
            ("failed", failed.join("; ")),
        ];
        let parts = lists.iter().filter(|(_, list)| !list.is_empty());
        let parts: Vec<String> = parts.map(|(what, list)| format!("{what}: {list}")).collect();
        let told = match (parts.is_empty(), is_plain) {
            (false, _) => parts.join("; "),
            (true, false) => "nothing has changed".to_owned(),
            (true, true) => "nothing has changed: the mount is that of the command line".to_owned(),
        };
        json!({
            "added": added, "removed": removed, "changed": changed, "settings": settings,
            "needs_start": needs_start, "failed": failed, "told": told,
        })
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
