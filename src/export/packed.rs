//! Files with compressed chunks. Chunks are compressed by the threads that produce them, and written in order.
//!
//! The HDF5 library places the chunks, so such a file is begun again where it was cut off.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::image::layout::LevelLayout;
use crate::image::{ImageError, VirtualFile};
use crate::ims::{ImsError, PackedFile, Packing};

use super::error::ExportError;
use super::target::{Target, rename, sync_folder_of};
use super::{Copying, Watcher};

/// Time between two looks at whether the user wants an end.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// A file with compressed chunks that is being written.
pub struct Packed {
    target: Target,
    path: PathBuf,
    packing: Packing,
    file: PackedFile,
    /// Bytes of voxels that are written, before compression.
    done: u64,
}

/// Chunks of a brick, each with the voxel at which it begins.
type Chunks = Vec<([u64; 3], Vec<u8>)>;

/// Which brick: level, dataset, number in the dataset.
type Place = (usize, u64, u64);

impl Packed {
    /// Begins a file. Voxels are read for its metadata.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn create(
        target: &Target,
        file: &VirtualFile,
        packing: Packing,
    ) -> Result<Self, ExportError> {
        target.check()?;
        let path = target.unfinished();
        let of_image = |source| ExportError::Image { range: 0..0, source };
        let pixels = file.pixel_metadata().map_err(of_image)?;
        // The reason of the system is plainer than that of the library.
        File::create(&path).map_err(|error| ExportError::file(&path, error))?;
        let _ = fs::remove_file(Target::journal_of(&path));
        let made = PackedFile::create(&path, &file.plan().ims, &pixels, packing);
        let made = made.map_err(|error| failed(&path, error))?;
        Ok(Self { target: target.clone(), path, packing, file: made, done: 0 })
    }

    /// Bytes of voxels, before compression.
    #[must_use]
    pub fn total(file: &VirtualFile) -> u64 {
        let levels = file.plan().layout.levels().iter();
        levels.map(LevelLayout::data_bytes).sum::<u64>() * file.plan().datasets()
    }

    /// Writes the levels that `wanted` chooses, the coarsest first.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn write(
        &mut self,
        image: &Arc<VirtualFile>,
        wanted: impl Fn(usize) -> bool,
        how: Copying,
        watcher: &dyn Watcher,
    ) -> Result<(), ExportError> {
        let plan = image.plan();
        let levels = (0..plan.levels.len()).rev().filter(|level| wanted(*level));
        let mut bricks = levels.flat_map(|level| {
            let count = plan.layout.levels()[level].bricks.bricks().iter().product::<u64>();
            (0..plan.datasets())
                .flat_map(move |dataset| (0..count).map(move |brick| (level, dataset, brick)))
        });
        let (sender, arrived) = channel();
        let (mut asked, mut written) = (0_u64, 0_u64);
        let mut early: BTreeMap<u64, (Place, Chunks)> = BTreeMap::new();
        let mut is_last = false;
        while !is_last || written < asked {
            if watcher.is_stopped() {
                return Err(ExportError::StoppedPacked);
            }
            while !is_last && asked - written < how.at_a_time.max(1) as u64 {
                let Some(place) = bricks.next() else {
                    is_last = true;
                    break;
                };
                let (number, sender) = (asked, sender.clone());
                asked += 1;
                self.ask(image, place, move |chunks| {
                    // The receiver may have met an error.
                    let _ = sender.send((number, place, chunks));
                });
            }
            match arrived.recv_timeout(LOOK_TIME) {
                Ok((number, place, chunks)) => drop(early.insert(number, (place, chunks?))),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            while let Some(((level, dataset, brick), chunks)) = early.remove(&written) {
                let (t, c) = plan.time_and_channel(dataset);
                let c = usize::try_from(c).unwrap_or(usize::MAX);
                let put = self.file.write_chunks((level, t, c), &chunks);
                put.map_err(|error| failed(&self.path, error))?;
                self.done += plan.layout.levels()[level].bricks.brick_bytes(brick);
                written += 1;
            }
            watcher.written(self.done);
        }
        Ok(())
    }

    /// Reads a brick and compresses its chunks, on the thread that produces it.
    fn ask(
        &self,
        image: &Arc<VirtualFile>,
        (level, dataset, brick): Place,
        done: impl FnOnce(Result<Chunks, ExportError>) + Send + 'static,
    ) {
        let plan = image.plan();
        let grid = &plan.layout.levels()[level].bricks;
        let (chunk, packing) = (plan.levels[level].chunk, self.packing);
        let [z, y, x] = grid.brick_box(brick);
        let start = plan.layout.chunk_address(level, dataset, [z.start, y.start, x.start]);
        let range = start..start + grid.brick_bytes(brick);
        let len = usize::try_from(grid.brick_bytes(brick)).unwrap_or(usize::MAX);
        let stride = usize::try_from(grid.chunk_stride()).unwrap_or(usize::MAX);
        let bytes = usize::try_from(chunk.iter().product::<u64>()).unwrap_or(usize::MAX)
            * plan.target.bytes();
        let answer = Answer(Some(Box::new(done)));
        let path = self.path.clone();
        let pack = move |read: Result<&[u8], ImageError>| {
            let read = read.map_err(|source| ExportError::Image { range, source })?;
            let places = z.flat_map(|z| {
                let x = x.clone();
                y.clone().flat_map(move |y| x.clone().map(move |x| [z, y, x]))
            });
            let packed = places.zip(read.chunks(stride)).map(|(at, stored)| {
                let origin = std::array::from_fn(|axis| at[axis] * chunk[axis]);
                Ok((origin, packing.pack(&stored[..bytes])?))
            });
            packed
                .collect::<std::io::Result<Chunks>>()
                .map_err(|error| ExportError::file(&path, error))
        };
        image.read(start, len, Box::new(move |read| answer.give(pack(read))));
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn finish(self) -> Result<(), ExportError> {
        let Self { target, path, file, .. } = self;
        file.finish().map_err(|error| failed(&path, error))?;
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|error| ExportError::file(&path, error))?;
        rename(&path, &target)?;
        sync_folder_of(&target.path)?;
        let _ = fs::remove_dir_all(target.kept());
        Ok(())
    }
}

type Done = Box<dyn FnOnce(Result<Chunks, ExportError>) + Send>;

/// Whoever waits gets an answer, even if the read is dropped.
struct Answer(Option<Done>);

impl Answer {
    fn give(mut self, chunks: Result<Chunks, ExportError>) {
        if let Some(done) = self.0.take() {
            done(chunks);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(ExportError::Image { range: 0..0, source: ImageError::Abandoned }));
        }
    }
}

fn failed(path: &std::path::Path, error: ImsError) -> ExportError {
    ExportError::Packed { path: path.to_path_buf(), source: error }
}
