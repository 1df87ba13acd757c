//! Open files of a [`MemDisk`].

use std::io;
use std::path::PathBuf;

use zarrims::cache::disk::{DiskFile, FileState};

use super::mem_disk::{MemDisk, operate};
use super::pages::MemFile;
use super::state::{Asked, State, error};

/// An open file.
#[derive(Debug)]
pub(crate) struct MemHandle {
    pub(crate) disk: MemDisk,
    pub(crate) number: u64,
    pub(crate) epoch: u64,
    pub(crate) path: PathBuf,
}

impl MemHandle {
    fn operate<T>(
        &self,
        asked: Asked,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        operate(&self.disk, self.epoch, asked, &self.path, act)
    }
}

impl DiskFile for MemHandle {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.operate(Asked::Read, |state| {
            state.counts.read_bytes += out.len() as u64;
            let whole = state.inodes[&self.number].file.read(out, offset);
            if whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let was_dead = state.crashed || state.epoch != self.epoch;
        let allowed = state.begin(Asked::Write, self.epoch);
        let before = state.used;
        let room = state.room();
        let done = match allowed {
            Ok(()) if state.change(self.number, |file| file.write(data, offset, room)) => Ok(()),
            Ok(()) => Err(error(libc::ENOSPC)),
            Err(error) => {
                // Fails or stops half way.
                if !was_dead && error.raw_os_error() == Some(libc::EIO) {
                    let part = state.picks.index(data.len() + 1);
                    state.change(self.number, |file| file.write(&data[..part], offset, room));
                }
                Err(error)
            }
        };
        state.end(before, &|| format!("Write {}", self.path.display()));
        done
    }

    fn punch_hole(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.operate(Asked::Punch, |state| {
            state.change(self.number, |file| file.punch(offset, bytes));
            Ok(())
        })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.operate(Asked::Change, |state| {
            state.change(self.number, |file| file.set_len(bytes));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.operate(Asked::Sync, |state| {
            state.counts.syncs += 1;
            state.change(self.number, MemFile::sync);
            Ok(())
        })
    }

    fn state(&self) -> io::Result<FileState> {
        self.operate(Asked::Look, |state| {
            let inode = &state.inodes[&self.number];
            let (length, disk_bytes) = (inode.file.len(), inode.file.allocated());
            Ok(FileState { length, disk_bytes, is_removed: inode.links == 0 })
        })
    }
}

impl Drop for MemHandle {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.epoch == self.epoch {
            state.close(self.number);
        }
    }
}
