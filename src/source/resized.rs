//! Arrays that become longer while they are shown: a writer appends a time point, and states the new length in
//! the metadata. All else of the metadata is what it was, or the array is another one.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use zarrs::array::Array;

use super::fingerprint::Fingerprint;
use super::metadata::{ZarrNode, read_node};
use super::root::SourceRoot;
use super::storage::Stamp;
use crate::sync::lock;

/// Pauses before a document that is incomplete is read again: a program that overwrites it in place leaves it so for a
/// moment.
const INCOMPLETE_PAUSES: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(120),
    Duration::from_millis(300),
];

/// What is shown of an array that may become longer.
#[derive(Debug)]
pub(super) struct Growth {
    /// The dimension that is time.
    pub(super) axis: Option<usize>,
    /// Time points that are shown.
    times: u64,
    /// The newest state of the metadata that differs in the length only.
    same: Mutex<Option<Stamp>>,
}

impl Growth {
    pub(super) fn new(axis: Option<usize>, times: u64) -> Self {
        Self { axis, times, same: Mutex::new(None) }
    }

    /// Chunks along time that hold what is shown.
    pub(super) fn chunks(&self, array: &Array<()>) -> u64 {
        let lengths = array.chunk_shape(&vec![0; array.dimensionality()]).ok();
        let length = self.axis.and_then(|axis| Some(lengths?.get(axis)?.get()));
        self.times.div_ceil(length.unwrap_or(1))
    }

    /// Whether the metadata, which was in state `now` a moment before, says what it said when the array was opened, but for the
    /// number of time points: at least those that are shown.
    pub(super) fn is_same_longer(
        &self,
        root: &SourceRoot,
        folder: &Path,
        array: &Array<()>,
        now: Stamp,
    ) -> bool {
        if *lock(&self.same) == Some(now) {
            return true;
        }
        let pauses = INCOMPLETE_PAUSES.iter().copied();
        let mut looks = std::iter::once(Duration::ZERO).chain(pauses).map(|pause| {
            thread::sleep(pause);
            described(root, folder)
        });
        // It may be newer than `now`, as the next length may just have been stated.
        let Some((found, stamp)) = looks.find_map(|found| found) else { return false };
        let is_same = self.is_long_enough(&found)
            && self.without_length(&found) == self.without_length(array);
        if is_same && stamp.is_settled() {
            *lock(&self.same) = Some(stamp);
        }
        is_same
    }

    fn is_long_enough(&self, array: &Array<()>) -> bool {
        self.axis
            .is_none_or(|axis| array.shape().get(axis).is_some_and(|length| *length >= self.times))
    }

    /// The metadata without what may change.
    fn without_length(&self, array: &Array<()>) -> Option<Value> {
        let mut metadata = serde_json::to_value(array.metadata()).ok()?;
        let members = metadata.as_object_mut()?;
        members.remove("attributes");
        if let Some(axis) = self.axis {
            *members.get_mut("shape")?.get_mut(axis)? = json!(0);
        }
        Some(metadata)
    }
}

/// The array that the metadata in a folder describes now.
fn described(root: &SourceRoot, folder: &Path) -> Option<(Array<()>, Stamp)> {
    let node = read_node(root, folder, &mut Fingerprint::default()).ok()??;
    let ZarrNode::Array(node) = node else { return None };
    let metadata = node.described().ok()?.metadata;
    Some((Array::new_with_metadata(Arc::new(()), "/", metadata).ok()?, node.stamp))
}
