//! Images that are still being written: how many of their time points are complete.
//!
//! Nothing in a store says so. [`decide`] holds the rules, which are those of `doc/SEMANTICS.md`; [`look`] finds
//! out what they need: which chunk files are there, since when, and whether the newest can be decoded.

mod decide;
mod look;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::array::ZarrArray;
use super::compose;
use super::image::ImageSource;
use super::parts::LevelSource;
use super::storage::Unfollowed;

use decide::{LevelState, Times};
use look::Axes;

pub use decide::Complete;

/// Which part of an image is complete now. `shown`: time points that are shown already; they stay shown while their
/// chunks are there. `pause`: the longest one of its writer that is known.
///
/// # Errors
/// [`Unfollowed`] where the chunk files cannot be looked at.
pub fn complete(image: &ImageSource, shown: u64, pause: Duration) -> Result<Complete, Unfollowed> {
    let mut known = HashMap::new();
    let mut levels = Vec::with_capacity(image.levels.len());
    for level in &image.levels {
        levels.push(state_of(level, (shown, pause), &mut known)?);
    }
    Ok(decide::complete(&levels, shown))
}

/// The same image with its complete time points and levels only. While it is open, its arrays may grow.
#[must_use]
pub fn only_complete(image: &ImageSource, complete: &Complete) -> ImageSource {
    let image = compose::first_times(image, complete.times, &complete.levels);
    for level in &image.levels {
        for part in level.parts() {
            part.array.files().may_grow(part.axes[0], times_of(level, &part.array, complete.times));
        }
    }
    image
}

/// The same image, of which all is complete. While it is open, its arrays may grow.
#[must_use]
pub fn all_of(image: &ImageSource) -> ImageSource {
    let (times, levels) = (image.levels[0].shape()[0], vec![true; image.levels.len()]);
    let pause = Duration::ZERO;
    only_complete(image, &Complete { times, levels, is_all: true, pause })
}

/// Time points of an array that the first `times` of a level need.
fn times_of(level: &LevelSource, array: &Arc<ZarrArray>, times: u64) -> u64 {
    let parts = level.parts().iter().filter(|part| Arc::ptr_eq(&part.array, array));
    let needed = parts.filter_map(|part| (0..times).filter_map(|t| part.time(t)).max());
    needed.max().map_or(0, |last| last + 1)
}

fn state_of(
    level: &LevelSource,
    (shown, pause): (u64, Duration),
    known: &mut HashMap<*const ZarrArray, Arc<Times>>,
) -> Result<LevelState, Unfollowed> {
    let mut times = Vec::with_capacity(level.parts().len());
    for part in level.parts() {
        let seen = if let Some(seen) = known.get(&Arc::as_ptr(&part.array)) {
            seen.clone()
        } else {
            let shown = times_of(level, &part.array, shown);
            let [time, channel, ..] = part.axes;
            let steps = look::look(&part.array, Axes { time, channel }, shown)?;
            let seen = Arc::new(Times::of(&steps, shown, pause));
            known.insert(Arc::as_ptr(&part.array), seen.clone());
            seen
        };
        times.push((part, seen));
    }
    let [count, ..] = level.shape();
    let is_complete = |t: &u64| {
        times.iter().all(|(part, seen)| part.time(*t).is_none_or(|time| time < seen.complete))
    };
    let complete = (0..count).take_while(is_complete).count() as u64;
    // The youngest of the parts of the last complete one, which is what a coarser level may lag behind.
    let age = |t: u64| {
        let ages = times.iter().filter_map(|(part, seen)| seen.age(part.time(t)?));
        ages.min()
    };
    Ok(LevelState {
        count,
        complete,
        ages: (0..complete).map(age).collect(),
        is_begun: times.iter().any(|(_, seen)| seen.is_begun),
        pause: times.iter().map(|(_, seen)| seen.pause).max().unwrap_or_default(),
    })
}
