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

use super::decide::{Channel, Step};

/// Older files are not half-written, unless they are the last.
const NEW: Duration = Duration::from_mins(1);

/// Time for decoding in one look. Each unit is decoded once; the next look goes on with others.
const DECODING_TIME: Duration = Duration::from_millis(300);

/// Where a look had no time to decode all units, one that has not changed for this long counts without.
const UNDECODED: Duration = Duration::from_secs(3);

/// How many of those that are shown are looked at again.
const TELLING: u64 = 2;

/// Steps of an array that are looked at.
const MOST_STEPS: u64 = 1 << 20;

/// More channels than these count as one.
const MOST_CHANNELS: u64 = 64;

/// Units whose soundness is remembered.
const MOST_REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// When a step of a shard that has later ones was first seen with as many units, by a hash of its place and of these.
static SINCE: LazyLock<Mutex<LruCache<u128, Instant>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(MOST_REMEMBERED)));

/// Units that were decoded, by a hash of their places and states.
static SOUND: LazyLock<Mutex<LruCache<u128, ()>>> =
    LazyLock::new(|| Mutex::new(LruCache::new(MOST_REMEMBERED)));

/// The chunk files that hold the same time points, by the positions of the chunks, in chunks.
type Block = HashMap<Vec<u64>, Stamp>;

/// A read unit by its position, in units, and the state of its file.
type Unit = (Vec<u64>, Stamp);

/// Which dimensions of an array are time and channel, if any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axes {
    pub(super) time: Option<usize>,
    pub(super) channel: Option<usize>,
}

/// Looks at the chunk files of an array. Those of the first `shown` time points are not looked at again where they lie
/// in folders of their own.
///
/// # Errors
/// [`Unfollowed`] where the files cannot be looked at.
pub(super) fn look(array: &ZarrArray, axes: Axes, shown: u64) -> Result<Vec<Step>, Unfollowed> {
    let looked = Looked::at(array, axes, shown)?;
    let mut decoding = Decoding { array, deadline: Instant::now() + DECODING_TIME };
    looked.steps(&mut decoding, shown)
}

/// What a look has found.
struct Looked<'a> {
    array: &'a ZarrArray,
    axes: Axes,
    blocks: BTreeMap<u64, Block>,
    /// Blocks before this one were not looked at: they are older, and there.
    from: u64,
}

impl<'a> Looked<'a> {
    fn at(array: &'a ZarrArray, axes: Axes, shown: u64) -> Result<Self, Unfollowed> {
        let files = array.files();
        let mut look = Self { array, axes, blocks: BTreeMap::new(), from: 0 };
        let mut budget = Budget::of_image(array.is_remote());
        let Some(folder) =
            axes.time.filter(|axis| *axis == 0).and_then(|_| files.folder_of_blocks())
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
        let first_new = if is_there { shown.saturating_sub(TELLING) } else { 0 };
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
        for (position, stamp) in survey_of.found {
            let block = self.axes.time.map_or(0, |axis| position[axis]);
            self.blocks.entry(block).or_default().insert(position, stamp);
        }
        Ok(())
    }

    /// The steps up to the last one that has chunks.
    fn steps(&self, decoding: &mut Decoding<'_>, shown: u64) -> Result<Vec<Step>, Unfollowed> {
        let (shape, unit, chunk) =
            (self.array.shape(), self.array.unit_shape(), self.array.chunk_shape());
        let along = |lengths: &[u64]| self.axes.time.map_or(1, |axis| lengths[axis]);
        let (count, span, block_span) = (along(shape), along(unit), along(chunk).max(1));
        let last_block = self.blocks.keys().next_back().copied();
        let now = SystemTime::now();
        let end = last_block.map_or(0, |last| last.saturating_add(1).saturating_mul(block_span));
        let steps = end.min(count).div_ceil(span);
        if steps > MOST_STEPS {
            return Err(Unfollowed::TooMany);
        }
        let step = |at: u64| {
            let number = at * span / block_span;
            let times = span.min(count - at * span);
            if number < self.from {
                return self.whole(times);
            }
            let Some(block) = self.blocks.get(&number) else {
                return self.step(times, &[], now);
            };
            let units = self.units_of(block, at, now);
            let ages = block.values().map(|stamp| stamp.age(now));
            let age = ages.min().unwrap_or_default();
            let is_last = Some(number) == last_block;
            let is_sharded = unit != chunk;
            let is_shown = (at + 1) * span <= shown;
            let is_old = age >= NEW && !is_last;
            // Those shown last tell whether the writer leaves out chunks.
            let is_telling = at + TELLING >= shown / span && !is_old;
            let units = if is_sharded && is_telling { decoding.present(units) } else { units };
            let step = self.step(times, &units, now);
            if is_shown || is_old {
                return step;
            }
            let is_sound = decoding.are_sound(&units, age);
            // A unit of a shard that is rewritten for its neighbours is not written again itself.
            let is_full = step.channels.iter().all(Channel::is_full);
            let is_whole = is_sharded && is_full && is_sound;
            let age = step.age.map(|age| if is_whole { age.max(NEW) } else { age });
            Step { age, is_sound, ..step }
        };
        let mut steps: Vec<Step> = (0..steps).map(step).collect();
        if unit != chunk {
            self.note_since_when(&mut steps);
        }
        Ok(steps)
    }

    /// A shard is as old as its newest unit. A step that has later ones in its shard, and is as it was at an earlier
    /// look, is older.
    fn note_since_when(&self, steps: &mut [Step]) {
        let later = steps.iter().rposition(Step::is_begun).unwrap_or(0);
        let root = self.array.files().location();
        for (at, step) in steps[..later].iter_mut().enumerate().filter(|(_, step)| step.is_begun())
        {
            let present: Vec<u64> = step.channels.iter().map(|own| own.present).collect();
            let folder = self.array.folder().display();
            let key = xxh3_128(format!("{root:?} {folder} {at} {present:?}").as_bytes());
            let since = *lock(&SINCE).get_or_insert(key, Instant::now);
            step.age = step.age.map(|age| age.max(since.elapsed().min(NEW)));
        }
    }

    /// A step that is older than those that were looked at.
    fn whole(&self, times: u64) -> Step {
        let (channels, expected) = self.expected();
        let channel = Channel { present: expected, expected, age: None };
        let channels = vec![channel; channels];
        let (age, oldest) = (Some(NEW), None);
        Step { times, channels, age, oldest, pause: Duration::ZERO, is_sound: true }
    }

    /// A step of which these units are stored, the newest first.
    fn step(&self, times: u64, units: &[Unit], now: SystemTime) -> Step {
        let (count, expected) = self.expected();
        let mut channels = vec![Channel { present: 0, expected, age: None }; count];
        let (mut age, mut oldest, mut pause) = (None, None, Duration::ZERO);
        for (position, stamp) in units {
            let number = self.channel_axis().map_or(0, |axis| position[axis]);
            let own = stamp.age(now);
            if let Some(channel) = usize::try_from(number).ok().and_then(|c| channels.get_mut(c)) {
                channel.present += 1;
                channel.age.get_or_insert(own);
            }
            age.get_or_insert(own);
            pause = pause.max(own.saturating_sub(oldest.unwrap_or(own)));
            oldest = Some(own);
        }
        Step { times, channels, age, oldest, pause, is_sound: true }
    }

    fn channel_axis(&self) -> Option<usize> {
        let (shape, unit) = (self.array.shape(), self.array.unit_shape());
        self.axes.channel.filter(|axis| shape[*axis].div_ceil(unit[*axis]) <= MOST_CHANNELS)
    }

    /// How many channels there are, or groups of them in the same units, and how many units of each in a step.
    fn expected(&self) -> (usize, u64) {
        let (shape, unit) = (self.array.shape(), self.array.unit_shape());
        let units = |axis: usize| shape[axis].div_ceil(unit[axis]);
        let Axes { time, .. } = self.axes;
        let channel = self.channel_axis();
        let others = (0..shape.len()).filter(|axis| ![time, channel].contains(&Some(*axis)));
        let channels = channel.map_or(1, units);
        (usize::try_from(channels).unwrap_or(usize::MAX), others.map(units).product())
    }

    /// The units of a step whose files are there, the newest first, by their positions in units.
    fn units_of(&self, block: &Block, at: u64, now: SystemTime) -> Vec<Unit> {
        let (shape, unit, chunk) =
            (self.array.shape(), self.array.unit_shape(), self.array.chunk_shape());
        let mut found = Vec::new();
        for (position, stamp) in block {
            let mut units = vec![Vec::with_capacity(shape.len())];
            for axis in 0..shape.len() {
                let per_chunk = (chunk[axis] / unit[axis]).max(1);
                let range = if Some(axis) == self.axes.time {
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
    /// Those units that their shards have.
    fn present(&self, units: Vec<Unit>) -> Vec<Unit> {
        let has = |(position, _): &Unit| self.array.has_unit(position);
        // An index that cannot be read is found when the unit is decoded.
        units.into_iter().filter(|unit| has(unit).unwrap_or(true)).collect()
    }

    /// Whether all can be decoded. `age`: since one of them has changed.
    fn are_sound(&self, units: &[Unit], age: Duration) -> bool {
        // An object is whole as soon as it is there.
        self.array.is_remote() || units.iter().all(|unit| self.is_sound(unit, age))
    }

    fn is_sound(&self, (position, stamp): &Unit, age: Duration) -> bool {
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
