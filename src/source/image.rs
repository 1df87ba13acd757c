//! One image of a store: its levels as arrays, its axes in the order (t, c, z, y, x), and what its
//! metadata says of size, time and channels.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::array::ZarrArray;
use super::facts::{Fact, Microscope, Provenance};
use super::fingerprint::Fingerprint;
use super::permissions::metadata_of;
use super::place::join;
use super::snapshot::{ChunkState, Snapshot};
use super::source_type::SourceType;
use super::storage::{Budget, Unfollowed};

pub use super::parts::{LevelSource, Part};
pub use super::place::Role;
pub use super::title::{Field, Title};

/// Longest name that is shown whole.
pub(crate) const NAME_LIMIT_BYTES: usize = 1024;

/// One image, ready to be planned and read. A clone reads the same arrays: it keeps to the same state of
/// their chunks.
#[derive(Debug, Clone)]
pub struct ImageSource {
    /// Path of the store below the source folder.
    pub store: PathBuf,
    /// Path of the multiscales group, or of the plain array, within the store; empty for its root.
    pub image: String,
    /// Which entry of `multiscales`.
    pub multiscale: usize,
    /// Paths below the source folder of further images that it is composed of.
    pub others: Vec<PathBuf>,
    /// What the image is for.
    pub role: Role,
    /// Name from the metadata of the image itself.
    pub name: Option<String>,
    /// What the metadata of the store calls it.
    pub title: Option<Title>,
    /// Description from the metadata.
    pub description: Option<String>,
    /// Levels with the same type, time points and channels; finest first, never empty.
    pub levels: Vec<LevelSource>,
    /// Edge of a voxel of level 0 in micrometres, order (x, y, z).
    pub voxel_um: [f64; 3],
    /// Translation of level 0 in micrometres, order (x, y, z).
    pub origin_um: [f64; 3],
    /// Axes with a scale and no unit, order (x, y, z): micrometres are a guess.
    pub lacks_unit: [bool; 3],
    /// Axes along which voxels are stored backwards, order (x, y, z): they are shown as stored.
    pub is_flipped: [bool; 3],
    /// Time of the first time point, in milliseconds since 1970-01-01 UTC, where stated.
    pub acquired_ms: Option<i64>,
    /// Interval between time points in seconds, where stated.
    pub time_step_s: Option<f64>,
    /// Seconds from the acquisition to each time point, where each is stated; they increase by a
    /// millisecond at least.
    pub times_s: Option<Vec<f64>>,
    /// Display settings, as many as the metadata lists.
    pub channels: Vec<ChannelSource>,
    /// The microscope that the image was acquired with.
    pub microscope: Microscope,
    /// What the store says of how it was made.
    pub provenance: Provenance,
    /// Other metadata worth keeping, as text.
    pub facts: Vec<Fact>,
    /// Parts left out and assumptions made, one line each, for the log.
    pub notes: Vec<String>,
    /// State of the metadata files all this was read from.
    pub fingerprint: Fingerprint,
}

/// One channel; `None` where the metadata states nothing usable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelSource {
    /// Label.
    pub name: Option<String>,
    /// Red, green, blue.
    pub color: Option<[u8; 3]>,
    /// Display window (start, end), finite and increasing.
    pub window: Option<(f64, f64)>,
    /// Wavelength of the emitted light in nanometres.
    pub emission_nm: Option<f64>,
    /// Wavelength of the exciting light in nanometres.
    pub excitation_nm: Option<f64>,
    /// Diameter of the pinhole in micrometres.
    pub pinhole_um: Option<f64>,
    /// Kind of microscopy, such as `LaserScanningConfocalMicroscopy`.
    pub acquisition_mode: Option<String>,
    /// Its voxels are object numbers, whatever its role.
    pub is_label: bool,
}

impl ImageSource {
    /// Path of the multiscales group, or of the plain array, below the source folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        join(&self.store, Path::new(&self.image))
    }

    /// Path below the source folder of the image that a part belongs to, or of its store where it is another
    /// one's.
    pub(crate) fn folder_of(&self, part: &Part) -> PathBuf {
        let array = part.array.folder();
        if array.starts_with(&self.store) {
            return self.folder();
        }
        let inside = Path::new(&*part.path).components().count();
        array.ancestors().nth(inside).unwrap_or(array).to_path_buf()
    }

    /// Type of the stored voxels.
    #[must_use]
    pub fn source_type(&self) -> SourceType {
        self.levels[0].source_type()
    }

    /// The arrays of all parts of all levels, each once.
    pub fn arrays(&self) -> impl Iterator<Item = &ZarrArray> {
        let mut seen = HashSet::new();
        let parts = self.levels.iter().flat_map(LevelSource::parts);
        parts.map(|part| &*part.array).filter(move |array| seen.insert(std::ptr::from_ref(*array)))
    }

    /// Files that stand for all that the image is made of, beside its metadata, by their paths below the source
    /// folder: a chunk of each array, and the metadata of the images that it is composed of.
    pub fn samples(&self) -> impl Iterator<Item = PathBuf> {
        let chunks = self.arrays().map(|array| array.folder().join(array.files().first_chunk()));
        let others = self.others.iter();
        let metadata =
            others.flat_map(|image| metadata_of(&self.fingerprint, Path::new(""), image));
        chunks.chain(metadata.map(Path::to_path_buf))
    }

    /// Records the state of the chunk files of all levels. From then on, reads return chunks in this state, or
    /// fail.
    ///
    /// # Errors
    /// [`Unfollowed`] where there are too many to look at, or some cannot be looked at.
    pub fn keep_to_chunks(&self) -> Result<ChunkState, Unfollowed> {
        let mut snapshots = self.look()?;
        let mut state = ChunkState::of(snapshots.iter());
        if let Some(time) = state.settles_soon() {
            // The store was written just now. A moment later its state is one that is found again.
            std::thread::sleep(time);
            snapshots = self.look()?;
            state = ChunkState::of(snapshots.iter());
        }
        for (array, snapshot) in self.arrays().zip(snapshots) {
            array.files().keep_to(snapshot);
        }
        Ok(state)
    }

    /// Bytes that the recorded state of the chunk files takes in memory.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.arrays().map(|array| array.files().snapshot_bytes()).sum()
    }

    /// The state of the chunk files of all levels, as [`ImageSource::keep_to_chunks`] returns it.
    ///
    /// # Errors
    /// As for [`ImageSource::keep_to_chunks`].
    pub fn chunk_state(&self) -> Result<ChunkState, Unfollowed> {
        Ok(ChunkState::of(self.look()?.iter()))
    }

    /// Whether no chunk file was added, deleted or replaced since [`ImageSource::keep_to_chunks`], as far as
    /// their folders tell.
    #[must_use]
    pub fn has_same_folders(&self) -> bool {
        self.arrays().all(|array| array.files().has_same_folders())
    }

    fn look(&self) -> Result<Vec<Snapshot>, Unfollowed> {
        if !self.arrays().any(ZarrArray::is_remote) {
            let mut budget = Budget::of_image(false);
            return self.arrays().map(|array| array.files().look(&mut budget)).collect();
        }
        // Each array takes a few requests; all arrays are asked at the same time.
        std::thread::scope(|scope| {
            let look = |array: &ZarrArray| array.files().look(&mut Budget::of_image(true));
            let looks: Vec<_> =
                self.arrays().map(|array| scope.spawn(move || look(array))).collect();
            looks
                .into_iter()
                .map(|look| look.join().unwrap_or(Err(Unfollowed::Unreadable)))
                .collect()
        })
    }
}
