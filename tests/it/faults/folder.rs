//! Folders of a [`MemDisk`], and the locks in them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zarrims::cache::disk::{Disk, DiskFile, Folder, Lock, Opening, Space};

use super::handle::MemHandle;
use super::mem_disk::{MemDisk, operate};
use super::names::{Node, resolve};
use super::pages::PAGE;
use super::state::{Asked, State, error};

impl Disk for MemDisk {
    fn enter(&self, path: &Path) -> io::Result<Arc<dyn Folder>> {
        let epoch = self.state().epoch;
        self.state().opens();
        let missing = |state: &State| state.names.get(path).is_none();
        if missing(&self.state()) {
            operate(self, epoch, Asked::Change, path, |state| {
                let mut above: Vec<&Path> = path.ancestors().collect();
                above.pop();
                for folder in above.into_iter().rev() {
                    match state.make_folder(folder) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(error);
                        }
                        _ => {}
                    }
                }
                Ok(())
            })?;
        }
        operate(self, epoch, Asked::Open, path, |state| match state.names.get(path) {
            Some(Node::Folder(number)) => {
                let folder =
                    MemFolder { disk: self.clone(), path: path.to_path_buf(), number, epoch };
                Ok(Arc::new(folder) as Arc<dyn Folder>)
            }
            _ => Err(error(libc::ENOTDIR)),
        })
    }
}

#[derive(Debug)]
struct MemFolder {
    disk: MemDisk,
    path: PathBuf,
    number: u64,
    epoch: u64,
}

impl MemFolder {
    fn operate<T>(
        &self,
        asked: Asked,
        inside: &Path,
        act: impl FnOnce(&mut State, &Path) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = resolve(&self.path, inside);
        operate(&self.disk, self.epoch, asked, &path, |state| {
            if state.names.get(&self.path) == Some(Node::Folder(self.number)) {
                act(state, &path)
            } else {
                Err(error(libc::ENOENT))
            }
        })
    }
}

impl Folder for MemFolder {
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn DiskFile>> {
        let asked = if how == Opening::Existing { Asked::Open } else { Asked::Change };
        self.operate(asked, path, |state, path| {
            let found = state.file_at(path);
            let number = match (how, found) {
                (Opening::New, Ok(_)) => return Err(error(libc::EEXIST)),
                (Opening::Existing, found) => found?,
                (Opening::Empty, Ok(number)) => {
                    state.change(number, |file| file.set_len(0));
                    number
                }
                (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    state.make_file(path)?
                }
                (_, Err(error)) => return Err(error),
            };
            state.inodes.get_mut(&number).expect("a named file").handles += 1;
            let (disk, epoch, path) = (self.disk.clone(), self.epoch, path.to_path_buf());
            Ok(Box::new(MemHandle { disk, number, epoch, path }) as Box<dyn DiskFile>)
        })
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.operate(Asked::Change, path, State::make_folder)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, bool)>> {
        self.operate(Asked::Open, path, |state, path| {
            if !state.names.has_folder(path) {
                return Err(error(libc::ENOENT));
            }
            let inside = state.names.inside(path);
            let name = |path: &Path| path.file_name().expect("below the root").to_owned();
            Ok(inside.map(|(path, node)| (name(path), matches!(node, Node::Folder(_)))).collect())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operate(Asked::Change, path, |state, path| {
            let number = state.file_at(path)?;
            state.unlink(path, Node::File(number));
            Ok(())
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.operate(Asked::Change, path, |state, path| match state.names.get(path) {
            None => Err(error(libc::ENOENT)),
            Some(Node::File(_)) => Err(error(libc::ENOTDIR)),
            Some(_) if state.names.inside(path).next().is_some() => Err(error(libc::ENOTEMPTY)),
            Some(node) => {
                state.unlink(path, node);
                Ok(())
            }
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let to = resolve(&self.path, to);
        self.operate(Asked::Rename, from, |state, from| {
            state.counts.renames += 1;
            let number = state.file_at(from)?;
            state.check_parent(&to)?;
            if let Ok(replaced) = state.file_at(&to) {
                state.drop_link(replaced);
            }
            state.names.rename(from, &to, Node::File(number));
            Ok(())
        })
    }

    fn disk_bytes(&self, path: &Path) -> io::Result<u64> {
        self.operate(Asked::Look, path, |state, path| match state.names.get(path) {
            Some(Node::File(number)) => Ok(state.inodes[&number].file.allocated()),
            Some(Node::Folder(_)) => Ok(PAGE),
            None => Err(error(libc::ENOENT)),
        })
    }

    fn space(&self) -> io::Result<Space> {
        self.operate(Asked::Look, Path::new(""), |state, _| {
            // The last thing that is asked before the cache is open.
            state.opened();
            Ok(Space { free: state.room() * PAGE, total: state.faults.capacity })
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.operate(Asked::Change, path, |state, path| {
            let number = match state.file_at(path) {
                Ok(number) => number,
                Err(_) => state.make_file(path)?,
            };
            if !state.locks.insert(self.number) {
                return Ok(Lock::Held(None));
            }
            let room = state.room();
            state.change(number, |file| file.write(b"1\n", 0, room));
            let held = Held { disk: self.disk.clone(), folder: self.number, epoch: self.epoch };
            Ok(Lock::Taken(Box::new(held)))
        })
    }

    fn is_gone(&self) -> bool {
        self.disk.state().names.get(&self.path) != Some(Node::Folder(self.number))
    }
}

/// A lock, until it is dropped.
#[derive(Debug)]
struct Held {
    disk: MemDisk,
    folder: u64,
    epoch: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.epoch == self.epoch {
            state.locks.remove(&self.folder);
        }
    }
}
