//! Passes that wait for their turn.

use std::sync::{Arc, Mutex};

use crate::cache::{BrickKey, Role};
use crate::image::bricks::Image;
use crate::image::engine::{BrickDone, BrickTicket, Engine};
use crate::image::frame::BrickId;

use super::{Pass, lock};

/// Large passes under way at a time, and others: each holds some bricks in memory.
const PASSES: [usize; 2] = [2, 16];

/// Passes that wait for their turn.
#[derive(Debug, Default)]
pub(in crate::image) struct PassQueue(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    /// Large passes, and others.
    running: [usize; 2],
    waiting: Vec<Waiting>,
}

pub(super) struct Waiting {
    pub(super) key: BrickKey,
    pub(super) image: Arc<Image>,
    pub(super) brick: BrickId,
    pub(super) ticket: BrickTicket,
    pub(super) lane: Lane,
}

/// Which limit a pass is under.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Large = 0,
    Small = 1,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("running", &self.running)
            .field("waiting", &self.waiting.len())
            .finish()
    }
}

impl PassQueue {
    /// Takes the duty for a brick from a pass that has not begun.
    pub(super) fn claim(&self, key: &BrickKey) -> Option<BrickTicket> {
        let mut queue = lock(&self.0);
        let at = queue.waiting.iter().position(|waiting| waiting.key == *key)?;
        Some(queue.waiting.remove(at).ticket)
    }

    /// Gives up what waits: the readers get an error.
    pub(in crate::image) fn clear(&self) {
        let waiting = std::mem::take(&mut lock(&self.0).waiting);
        drop(waiting);
    }

    /// Starts what may start, after the end of a pass in `finished`.
    pub(super) fn advance(&self, engine: &Arc<Engine>, finished: Option<Lane>) {
        let mut started = Vec::new();
        {
            let mut queue = lock(&self.0);
            if let Some(lane) = finished {
                queue.running[lane as usize] -= 1;
            }
            let may_start = |queue: &Queue| {
                let free = |lane: Lane| queue.running[lane as usize] < PASSES[lane as usize];
                queue.waiting.iter().position(|waiting| free(waiting.lane))
            };
            while let Some(at) = may_start(&queue) {
                let waiting = queue.waiting.remove(at);
                queue.running[waiting.lane as usize] += 1;
                started.push(waiting);
            }
        }
        for Waiting { image, brick, ticket, lane, .. } in started {
            Pass::start_root(image, engine, brick, ticket, lane);
        }
    }

    /// Puts a brick in the queue, unless somebody has it under way. Locked over both steps: who finds
    /// the brick under way finds it in the queue, too.
    pub(super) fn enter(
        &self,
        engine: &Engine,
        done: BrickDone,
        waiting: impl FnOnce(BrickTicket) -> Waiting,
        key: BrickKey,
    ) {
        let mut queue = lock(&self.0);
        if let Role::Leader(ticket) = engine.join(key, done) {
            queue.waiting.push(waiting(ticket));
        }
    }
}
