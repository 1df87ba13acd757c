//! The order in which a pass visits bricks: depth first, with few of them open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::brick::BrickTicket;
use crate::engine::error::ImageError;
use crate::image::voxels::frame::BrickId;

use super::children::{Child, Children};
use super::open::Build;

/// Receives the end of a pass: the error that stopped it, if one did.
pub(super) type PassDone = Box<dyn FnOnce(Result<(), ImageError>) + Send>;

/// What a pass has begun and what it still has to begin.
pub(super) struct Walk {
    roots: Box<dyn Iterator<Item = Root> + Send>,
    /// Bricks whose children are not all begun, coarsest first.
    stack: Vec<Open>,
    /// Tasks on a worker.
    pub(super) running: usize,
    /// Roots and children begun and not delivered.
    pub(super) pending: usize,
    /// There is nothing left to begin.
    ended: bool,
    /// An error stopped the walk.
    failed: bool,
    done: Option<PassDone>,
}

/// A brick to begin with.
pub(super) struct Root {
    pub(super) brick: BrickId,
    /// For the readers that wait for it outside the pass.
    pub(super) ticket: Option<BrickTicket>,
}

struct Open {
    build: Arc<Build>,
    children: Children,
}

/// What a pass does next.
pub(super) enum Step {
    /// Begins a child; counted as running and pending.
    Child(Child, Arc<Build>),
    /// Begins a root; counted as running and pending.
    Root(Root),
    /// Drops what the walk kept of a brick, whose children are all begun, without the lock.
    Drop(Arc<Build>),
    /// Nothing, for now.
    Rest,
}

impl Walk {
    pub(super) fn new(
        roots: Box<dyn Iterator<Item = Root> + Send>,
        done: Option<PassDone>,
    ) -> Self {
        let stack = Vec::new();
        Self { roots, stack, running: 0, pending: 0, ended: false, failed: false, done }
    }

    /// Over bricks that nobody has asked for yet, to their end.
    pub(super) fn over(
        bricks: impl Iterator<Item = BrickId> + Send + 'static,
        done: PassDone,
    ) -> Self {
        Self::new(Box::new(bricks.map(|brick| Root { brick, ticket: None })), Some(done))
    }

    /// The next step, with at most `limit` tasks under way.
    pub(super) fn next(&mut self, limit: usize) -> Step {
        if self.failed || self.running >= limit {
            return Step::Rest;
        }
        let step = match self.stack.last_mut() {
            Some(open) => match open.children.next() {
                Some(child) => Step::Child(child, open.build.clone()),
                None => self.stack.pop().map_or(Step::Rest, |open| Step::Drop(open.build)),
            },
            None => self.roots.next().map_or(Step::Rest, Step::Root),
        };
        match step {
            Step::Child(..) | Step::Root(_) => {
                self.running += 1;
                self.pending += 1;
            }
            Step::Drop(_) => {}
            Step::Rest => self.ended = true,
        }
        step
    }

    /// Puts a computed brick on the stack, which is no task of its own.
    ///
    /// # Errors
    /// The brick, if the walk has stopped.
    pub(super) fn open(&mut self, build: Arc<Build>, children: Children) -> Result<(), Arc<Build>> {
        self.running -= 1;
        if self.failed {
            return Err(build);
        }
        self.stack.push(Open { build, children });
        self.ended = false;
        Ok(())
    }

    /// Begins no more children of a brick, which cannot be completed.
    pub(super) fn skip_rest_of(&mut self, build: &Arc<Build>) {
        if let Some(open) = self.stack.iter_mut().find(|open| Arc::ptr_eq(&open.build, build)) {
            // Never all that are missing: the one that failed is not taken off yet.
            let skipped = usize::try_from(open.children.skip_rest()).unwrap_or(0);
            build.missing.fetch_sub(skipped, Ordering::AcqRel);
        }
    }

    /// Whether all that was begun is delivered, and nothing more will be begun: whether it failed, and whom
    /// to tell.
    pub(super) fn end(&mut self) -> Option<(bool, Option<PassDone>)> {
        let is_begun = self.ended || self.failed;
        let is_over = is_begun && self.pending == 0 && self.running == 0;
        is_over.then(|| (self.failed, self.done.take()))
    }

    /// Stops the walk: the bricks that were open, finest first, and whom to tell.
    pub(super) fn stop(&mut self) -> (Vec<Arc<Build>>, Option<PassDone>) {
        self.failed = true;
        let stack = std::mem::take(&mut self.stack);
        (stack.into_iter().rev().map(|open| open.build).collect(), self.done.take())
    }
}
