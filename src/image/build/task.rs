//! The part of a pass that runs on a worker: reading one brick.

use std::sync::Arc;

use crate::image::ImageError;
use crate::image::engine::{Brick, BrickDone, Mode, Purpose};

use super::children::Child;
use super::open::Build;
use super::{Pass, lock};

/// A task on a worker. If it ends without having handed its brick on, because it panicked or never
/// ran, the brick is delivered as an error.
pub(super) struct Task {
    pub(super) pass: Arc<Pass>,
    pub(super) brick: Option<(Child, Option<Arc<Build>>)>,
}

impl Task {
    /// Reads a brick of the store.
    pub(super) fn read_stored(mut self) {
        let pass = self.pass.clone();
        let Some((child, parent)) = self.brick.take() else { return };
        let slot = pass.image.slot(child.brick);
        let deliverer = pass.clone();
        let done: BrickDone =
            Box::new(move |result| deliverer.deliver(child, parent.as_ref(), result));
        let produce = || pass.image.produce(child.brick);
        let mode = Mode { purpose: Purpose::Passing, ..Mode::default() };
        match pass.engine().lead(slot.key, done) {
            Ok(ticket) => pass.engine().fill(slot, mode, produce, ticket),
            // A reader is at it, perhaps since before.
            Err(done) => done(
                produce().map(|produced| pass.engine().take_in(slot, Purpose::Passing, &produced)),
            ),
        }
        pass.progress.advance();
    }

    /// Reads a computed brick from the cache, or builds it if it went meanwhile.
    pub(super) fn read_cached(mut self) {
        let Some((child, _)) = self.brick else { return };
        let found = self.pass.engine().get(self.pass.image.slot(child.brick));
        // Read here: if the cache fails, the brick can still be built.
        let found = found.and_then(|found| self.pass.engine().whole(&found).ok());
        let (found, _reserved) =
            found.map_or((None, None), |(whole, reserved)| (Some(Brick::Memory(whole)), reserved));
        let Some((child, parent)) = self.brick.take() else { return };
        match (found, parent) {
            (None, Some(parent)) => {
                // What `build` takes away is not this task.
                lock(&self.pass.state).running += 1;
                self.pass.build(child, parent);
            }
            (found, parent) => {
                let result = found.ok_or(ImageError::Abandoned);
                self.pass.deliver(child, parent.as_ref(), result);
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(headway) = &self.pass.headway {
            headway.make();
        }
        if let Some((child, parent)) = self.brick.take() {
            self.pass.deliver(child, parent.as_ref(), Err(ImageError::Abandoned));
        }
        lock(&self.pass.state).running -= 1;
        self.pass.pump();
    }
}
