//! Which chunks of an array are there, time point by time point.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lru::LruCache;
use xxhash_rust::xxh3::xxh3_128;

use crate::source::array::ZarrArray;
use crate::source::chunk_files::ChunkFiles;
use crate::source::place::{METADATA_FILES, join};
use crate::source::storage::{Budget, Meta, Stamp, Surveyor, Unfollowed, UpTo, survey};
use crate::sync::lock;

use super::decide::Step;

/// Older files are not half-written, unless they are the last.
const NEW: Duration = Duration::from_mins(1);

/// Time for decoding in one look. Each unit is decoded once; the next look goes on with others.
const DECODING_TIME: Duration = Duration::from_millis(300);

/// Where a look had no time to decode all units, one that has not changed for this long counts without.
const UNDECODED: Duration = Duration::from_secs(3);

/// Units whose soundness is remembered.
const MOST_REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// Units that were decoded, by a hash of their places and states.
static SOUND: LazyLock<Mutex<LruCache<u128, ()>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(MOST_REMEMBERED)));

/// The chunk files that hold the same time points.
#[derive(Debug, Default)]
struct Block {
    /// By the positions of the chunks, in chunks.
    files: HashMap<Vec<u64>, Stamp>,
    age: Option<Duration>,
}

/// Looks at the chunk files of an array, of which dimension `axis` is time. Those of the first `shown` time points
/// are not looked at again where they lie in folders of their own.
///
/// # Errors
/// [`Unfollowed`] where the files cannot be looked at.
pub(super) fn look(
    array: &ZarrArray,
    axis: Option<usize>,
    shown: u64,
) -> Result<Vec<Step>, Unfollowed> {
    let looked = Looked::at(array, axis, shown)?;
    let mut decoding = Decoding { array, deadline: Instant::now() + DECODING_TIME };
    Ok(looked.steps(&mut decoding, shown))
}

/// What a look has found.
struct Looked<'a> {
    array: &'a ZarrArray,
    axis: Option<usize>,
    blocks: BTreeMap<u64, Block>,
    /// Blocks before this one were not looked at: they are older, and there.
    from: u64,
}

impl<'a> Looked<'a> {
    fn at(array: &'a ZarrArray, axis: Option<usize>, shown: u64) -> Result<Self, Unfollowed> {
        let files = array.files();
        let mut look = Self { array, axis, blocks: BTreeMap::new(), from: 0 };
        let mut budget = Budget::of_image(array.is_remote());
        let Some(folder) = axis.filter(|axis| *axis == 0).and_then(|_| files.folder_of_blocks())
        else {
            look.survey(Path::new(""), &mut budget)?;
            return Ok(look);
        };
        let mut blocks = files.numbers_in(&folder)?;
        // The newest first: if there are too many, the older ones count as they are.
        blocks.sort_unstable_by(|a, b| b.cmp(a));
        let shown = shown.div_ceil(array.chunk_shape()[0].max(1));
        // Where what was shown is gone, all is looked at again.
        let is_there = blocks.first().is_some_and(|newest| newest + 1 >= shown);
        let first_new = if is_there { shown.saturating_sub(2) } else { 0 };
        for (looked_at, block) in blocks.iter().copied().enumerate() {
            if block < first_new {
                look.from = block + 1;
                break;
            }
            match look.survey(&folder.join(block.to_string()), &mut budget) {
                Ok(()) => {}
                Err(Unfollowed::TooMany | Unfollowed::TooSlow) if looked_at > 1 => {
                    look.blocks.remove(&block);
                    look.from = block + 1;
                    break;
                }
                Err(reason) => return Err(reason),
            }
        }
        Ok(look)
    }

    /// Looks at all chunk files below a folder of the array.
    fn survey(&mut self, below: &Path, budget: &mut Budget) -> Result<(), Unfollowed> {
        let files = self.array.files();
        let mut survey_of = Survey { files, below: below.to_path_buf(), found: Vec::new() };
        let folder = join(files.folder(), below);
        survey(files.storage(), &folder, &METADATA_FILES, budget, &mut survey_of)?;
        let now = SystemTime::now();
        for (position, stamp) in survey_of.found {
            let block = self.blocks.entry(self.axis.map_or(0, |axis| position[axis])).or_default();
            let age = stamp.age(now);
            block.age = Some(block.age.map_or(age, |known| known.min(age)));
            block.files.insert(position, stamp);
        }
        Ok(())
    }

    fn steps(&self, decoding: &mut Decoding<'_>, shown: u64) -> Vec<Step> {
        let (shape, unit, chunk) =
            (self.array.shape(), self.array.unit_shape(), self.array.chunk_shape());
        let along = |lengths: &[u64]| self.axis.map_or(1, |axis| lengths[axis]);
        let (count, span, block_span) = (along(shape), along(unit), along(chunk).max(1));
        let expected = (0..shape.len()).filter(|axis| Some(*axis) != self.axis);
        let expected = expected.map(|axis| shape[axis].div_ceil(unit[axis])).product();
        let last_block = self.blocks.keys().next_back().copied();
        (0..count.div_ceil(span))
            .map(|at| {
                let number = at * span / block_span;
                let times = span.min(count - at * span);
                let whole =
                    Step { times, present: expected, expected, age: Some(NEW), is_sound: true };
                if number < self.from {
                    return whole;
                }
                let Some(block) = self.blocks.get(&number) else {
                    return Step { present: 0, age: None, ..whole };
                };
                let units = self.units_of(block, at, unit, chunk);
                let age = block.age.unwrap_or_default();
                let is_last = Some(number) == last_block;
                let is_sharded = unit != chunk;
                let step = Step {
                    times,
                    present: units.len() as u64,
                    expected,
                    age: block.age,
                    is_sound: true,
                };
                if (at + 1) * span <= shown || (age >= NEW && !is_last) {
                    return step;
                }
                let units = if is_sharded { decoding.present(units) } else { units };
                let present = units.len() as u64;
                let is_sound = decoding.are_sound(&units, age);
                // A unit of a shard that is rewritten for its neighbours is not written again itself.
                let is_within = is_sharded && present >= expected && is_sound;
                let age = if is_within { age.max(NEW) } else { age };
                Step { present, age: (present > 0).then_some(age), is_sound, ..step }
            })
            .collect()
    }

    /// The units of a step whose files are there, the newest first, by their positions in units.
    fn units_of(
        &self,
        block: &Block,
        at: u64,
        unit: &[u64],
        chunk: &[u64],
    ) -> Vec<(Vec<u64>, Stamp)> {
        let shape = self.array.shape();
        let mut found = Vec::new();
        for (position, stamp) in &block.files {
            let mut units = vec![Vec::with_capacity(shape.len())];
            for axis in 0..shape.len() {
                let per_chunk = (chunk[axis] / unit[axis]).max(1);
                let range = if Some(axis) == self.axis {
                    at..at + 1
                } else {
                    let start = position[axis] * per_chunk;
                    start..(start + per_chunk).min(shape[axis].div_ceil(unit[axis]))
                };
                units = units
                    .iter()
                    .flat_map(|unit| range.clone().map(move |at| [unit.as_slice(), &[at]].concat()))
                    .collect();
            }
            found.extend(units.into_iter().map(|unit| (unit, *stamp)));
        }
        let now = SystemTime::now();
        found.sort_by_cached_key(|(_, stamp)| stamp.age(now));
        found
    }
}

/// The chunk files below a folder of an array.
struct Survey<'a> {
    files: &'a ChunkFiles,
    /// Relative to the array.
    below: PathBuf,
    found: Vec<(Vec<u64>, Stamp)>,
}

impl Surveyor for Survey<'_> {
    fn begin(&mut self) {
        self.found.clear();
    }

    fn file(&mut self, inside: &Path, meta: &Meta) {
        let position = self.files.position_of(&join(&self.below, inside));
        self.found.extend(position.map(|position| (position, meta.stamp)));
    }

    fn folder(&mut self, _inside: &Path, _meta: &Meta, _may_lack: Option<UpTo>) {}
}

/// Decodes what may be half-written.
struct Decoding<'a> {
    array: &'a ZarrArray,
    deadline: Instant,
}

impl Decoding<'_> {
    /// Those of the units that their shards have.
    fn present(&self, units: Vec<(Vec<u64>, Stamp)>) -> Vec<(Vec<u64>, Stamp)> {
        let has = |(position, _): &(Vec<u64>, Stamp)| self.array.has_unit(position);
        // An index that cannot be read is found when the unit is decoded.
        units.into_iter().filter(|unit| has(unit).unwrap_or(true)).collect()
    }

    /// Whether all can be decoded. `age`: since one of them has changed.
    fn are_sound(&self, units: &[(Vec<u64>, Stamp)], age: Duration) -> bool {
        // An object is whole as soon as it is there.
        self.array.is_remote() || units.iter().all(|unit| self.is_sound(unit, age))
    }

    fn is_sound(&self, (position, stamp): &(Vec<u64>, Stamp), age: Duration) -> bool {
        let file = self.array.file_of_unit(position);
        let key = xxh3_128(format!("{} {position:?} {stamp}", file.display()).as_bytes());
        if lock(&SOUND).get(&key).is_some() {
            return true;
        }
        if Instant::now() >= self.deadline {
            return age >= UNDECODED;
        }
        let is_sound = self.array.read_unit(position).is_ok();
        if is_sound && stamp.is_settled() {
            lock(&SOUND).put(key, ());
        }
        is_sound
    }
}
