//! A brick of a computed level in production.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::engine::brick::{Brick, BrickDone, BrickTicket, Whole};
use crate::engine::error::ImageError;
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::resources::buffer::{Buffer, with_buffer};
use crate::resources::headroom;
use crate::sync::lock;

use super::join::Joint;

/// A computed brick in production.
pub(super) struct Build {
    pub(super) brick: BrickId,
    pub(super) frame: BrickFrame,
    pub(super) keeper: Keeper,
    /// It, and what it owns, is shown to the visitor here.
    pub(super) is_shown: bool,
    pub(super) started: Instant,
    pub(super) output: Mutex<Output>,
    /// Children not delivered.
    pub(super) missing: AtomicUsize,
    pub(super) done: Mutex<Option<Done>>,
}

/// Receives a computed brick.
pub(super) enum Done {
    /// The readers that wait for it by its key.
    Ticket(BrickTicket),
    Call(BrickDone),
}

/// What decides whether a brick is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    /// A reader asked for it: it is kept.
    Reader,
    /// It is made in passing: kept if its level is.
    Level,
    /// Another pass makes it as well, and keeps it.
    Other,
}

#[derive(Default)]
pub(super) struct Output {
    /// Allocated with the first child that is not all zero.
    pub(super) bytes: Buffer,
    pub(super) incomplete: bool,
    pub(super) error: Option<ImageError>,
}

impl Build {
    /// Joins the voxels of a child to this brick's.
    ///
    /// # Errors
    /// [`ImageError::NoMemory`].
    pub(super) fn take_in(
        &self,
        image: &Image,
        child: BrickId,
        whole: &Whole,
    ) -> Result<(), ImageError> {
        lock(&self.output).incomplete |= !whole.lasting;
        if whole.is_zero {
            // Zeros joined are zeros, and the output begins as such.
            return Ok(());
        }
        let levels = &image.plan.levels;
        let halved = levels[self.brick.level].halved(&levels[child.level]);
        let frame = BrickFrame::new(&image.plan, child);
        let reduction = image.plan.reduction(child.dataset);
        let Some(joint) = Joint::new(image, &self.frame, &frame, halved, reduction) else {
            return Ok(());
        };
        let _claim = headroom::claim(joint.bytes() as u64)?;
        with_buffer(joint.bytes(), |joined| {
            // Several threads may do so, each with its child.
            joint.join(&whole.bytes, joined);
            let mut output = lock(&self.output);
            if output.bytes.is_empty() {
                output.bytes = self.frame.zeros()?;
            }
            joint.place(joined, &self.frame, &mut output.bytes);
            Ok(())
        })
    }

    /// Whether a reader outside the pass waits for it by now.
    pub(super) fn has_readers(&self) -> bool {
        matches!(&*lock(&self.done), Some(Done::Ticket(ticket)) if ticket.waiters() > 1)
    }

    /// Hands the result on, once.
    pub(super) fn end(&self, result: Result<Brick, ImageError>) {
        let done = lock(&self.done).take();
        match done {
            Some(Done::Ticket(ticket)) => {
                ticket.complete(result);
            }
            Some(Done::Call(done)) => done(result),
            None => {}
        }
    }
}
