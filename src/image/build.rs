//! Production of computed levels: passes over the pyramid that read each brick they need once.
//!
//! A brick of a computed level is made from the bricks under it in the level above, and these perhaps
//! from others. A [`Pass`] walks that tree depth first: it opens a brick, produces its children one
//! after the other, and closes it when the last one has come. So all levels between are built by one
//! pass, each brick of the store is decoded once, and few bricks are open at a time: one per level
//! and some for the tasks under way. Bricks of computed levels go to the cache as they are closed, and
//! a subtree whose brick is in the cache is not walked again: that is how a pass is resumed after a
//! restart. Bricks of the store only pass through.
//!
//! Nobody waits here: every child comes by a callback. A brick that another pass, or a reader, has
//! under way is left to them, and theirs to us; a pass that waits for its turn gives up its root to
//! one that needs it. Since a brick waits for finer ones only, there is no circle.
//!
//! With a [`Visitor`] a pass shows it every brick of every level exactly once. It then walks
//! everything, cached or not.

mod children;
mod join;
mod open;
mod progress;
mod task;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crate::cache::Role;
use crate::memory::Reserved;

use super::bricks::Image;
use super::damage::is_damage;
use super::engine::{Brick, BrickDone, BrickTicket, Engine, Keep, Produced, Purpose, Whole};
use super::frame::{BrickFrame, BrickId};
use super::turns::{Headway, Lane, Waiting};
use super::{ImageError, guarded, lock};
use children::{Child, Children};
use open::{Build, Done, Keeper, Output};
use progress::Progress;
use task::Task;

/// Passes that read more bricks of the store than this wait for their turn.
const LARGE_PASS_BRICKS: u64 = 256;

/// Part of the cache that the levels of one image may take when a pass makes them in passing: a large
/// level must not drive out the coarse ones that every opening reads.
const KEPT_SHARE: u64 = 4;

/// Bricks that the source may complete any time are kept so much longer than it took to make them,
/// that making them takes this part of the time at most.
const FLEETING_DUTY: u32 = 10;

/// Sees every brick of a pass.
pub(super) trait Visitor: Send + Sync {
    /// One brick of any level, in any order, from any thread.
    fn visit(&self, brick: BrickId, frame: &BrickFrame, bytes: &[u8]);

    /// A brick cannot be had, because a chunk is damaged.
    fn miss(&self, brick: BrickId);

    /// A brick may be incomplete: parts of the source were absent.
    fn incomplete(&self);
}

/// Receives the end of a pass: the error that stopped it, if one did.
type PassDone = Box<dyn FnOnce(Result<(), ImageError>) + Send>;

/// A walk over the pyramid of one image.
struct Pass {
    image: Arc<Image>,
    visitor: Option<Arc<dyn Visitor>>,
    state: Mutex<State>,
    /// Tasks under way at a time.
    limit: usize,
    /// The finest level whose bricks are kept although nobody asked for them.
    finest_kept: usize,
    progress: Progress,
    /// Counted among those that run, but for passes that show everything.
    headway: Option<Arc<Headway>>,
}

struct State {
    roots: Box<dyn Iterator<Item = Root> + Send>,
    /// Bricks whose children are not all begun, coarsest first.
    stack: Vec<Open>,
    /// Tasks on a worker.
    running: usize,
    /// Roots and children begun and not delivered.
    pending: usize,
    /// There is nothing left to begin.
    ended: bool,
    /// An error stopped the walk.
    failed: bool,
    done: Option<PassDone>,
}

/// A brick to begin with.
struct Root {
    brick: BrickId,
    /// Who waits for it outside the pass.
    ticket: Option<BrickTicket>,
}

struct Open {
    build: Arc<Build>,
    children: Children,
}

/// Requests a brick of a computed level.
pub(super) fn request(requested: &Arc<Image>, brick: BrickId, done: BrickDone) {
    let image = requested.clone();
    let task = move || {
        let engine = image.engine().clone();
        let slot = image.slot(brick);
        // Before anything else: whoever produces it may take long.
        if let Some(found) = engine.get(slot) {
            done(Ok(found));
            return;
        }
        let is_large = bricks_under(&image, brick) > LARGE_PASS_BRICKS;
        let lane = if is_large { Lane::Large } else { Lane::Small };
        let bytes = open_bytes(&image, brick.level);
        let start = Box::new(move |ticket, turn| Pass::start_root(image, brick, ticket, turn));
        let waiting = |ticket| Waiting { key: slot.key, ticket, lane, bytes, start };
        engine.turns.enter(&engine, done, waiting, slot.key);
        engine.turns.advance(&engine, None);
    };
    // Away from the caller: a checksum may have to be compared.
    requested.engine().spawn(task);
}

/// Most memory that the bricks take which a pass up to a level has open: two of each level below it, as
/// the last children of one are still under way when the next one is begun.
fn open_bytes(image: &Image, level: usize) -> u64 {
    let levels = image.plan.layout.levels();
    let bytes = |level: usize| levels[level].bricks.full_brick_bytes();
    let below = (image.plan.base(level) + 1..level).map(|level| bytes(level).saturating_mul(2));
    below.fold(bytes(level), u64::saturating_add)
}

/// The same for a pass that shows everything.
pub(super) fn most_open_bytes(image: &Image) -> u64 {
    let computed = (0..image.plan.levels.len()).filter(|&level| image.stored(level).is_none());
    computed.map(|level| open_bytes(image, level)).max().unwrap_or(0)
}

/// Number of bricks of the store that a brick of a computed level is made from.
fn bricks_under(image: &Image, brick: BrickId) -> u64 {
    let plan = &image.plan;
    let base = plan.base(brick.level);
    let frame = BrickFrame::new(plan, brick);
    let bricks = (0..3).map(|axis| {
        // Sizes are halved or kept, so the ratio is right but for what is dropped.
        let factor = plan.levels[base].size[axis] / plan.levels[brick.level].size[axis];
        let voxels = frame.voxels[axis].end - frame.voxels[axis].start;
        voxels.saturating_mul(factor).div_ceil(plan.levels[base].brick[axis])
    });
    bricks.fold(1, u64::saturating_mul)
}

/// Shows every brick of some datasets to a visitor, and calls `done` at the end. Damaged bricks are
/// told to the visitor and do not stop the pass.
pub(super) fn visit_all(
    image: &Arc<Image>,
    datasets: Range<u64>,
    visitor: Arc<dyn Visitor>,
    done: PassDone,
) {
    let levels = &image.plan.levels;
    let is_last =
        |level: &usize| image.plan.coarsest() == *level || image.stored(level + 1).is_some();
    // Each chain of levels ends in one that no other is computed from.
    let last: Vec<usize> = (0..levels.len()).filter(is_last).collect();
    let bricks = |level: usize| image.plan.layout.levels()[level].bricks.bricks();
    let counts: Vec<(usize, u64)> =
        last.into_iter().map(|level| (level, bricks(level).iter().product())).collect();
    let stored = (0..levels.len()).filter(|&level| image.stored(level).is_some());
    let total = stored.map(|level| bricks(level).iter().product::<u64>()).sum::<u64>()
        * (datasets.end - datasets.start);
    let roots = datasets.flat_map(move |dataset| {
        counts.clone().into_iter().flat_map(move |(level, count)| {
            (0..count)
                .map(move |brick| Root { brick: BrickId { level, dataset, brick }, ticket: None })
        })
    });
    let pass = Pass::new(image.clone(), Some(visitor), Box::new(roots), total, None);
    lock(&pass.state).done = Some(done);
    pass.pump();
}

impl Pass {
    fn new(
        image: Arc<Image>,
        visitor: Option<Arc<dyn Visitor>>,
        roots: Box<dyn Iterator<Item = Root> + Send>,
        total: u64,
        headway: Option<Arc<Headway>>,
    ) -> Arc<Self> {
        let what = if visitor.is_some() { "reading all voxels" } else { "computing levels" };
        let progress = Progress::new(what, image.source.folder().display().to_string(), total);
        let finest_kept = image.plan.finest_within(image.engine().cache_bytes() / KEPT_SHARE);
        Arc::new(Self {
            image,
            visitor,
            state: Mutex::new(State {
                roots,
                stack: Vec::new(),
                running: 0,
                pending: 0,
                ended: false,
                failed: false,
                done: None,
            }),
            limit: thread::available_parallelism().map_or(2, |cores| cores.get() + 2),
            finest_kept,
            progress,
            headway,
        })
    }

    fn start_root(image: Arc<Image>, brick: BrickId, ticket: BrickTicket, headway: Arc<Headway>) {
        // Another pass may have made it between the look and the lead.
        // Read here: if the cache fails, it can still be built.
        let engine = image.engine();
        let found = engine.get(image.slot(brick)).and_then(|found| engine.whole(&found).ok());
        if let Some((whole, reserved)) = found {
            ticket.complete(Ok(Brick::Memory(whole)));
            drop(reserved);
            engine.turns.advance(engine, Some(&headway));
            return;
        }
        let total = bricks_under(&image, brick);
        let roots = Box::new(std::iter::once(Root { brick, ticket: Some(ticket) }));
        Self::new(image, None, roots, total, Some(headway)).pump();
    }

    fn engine(&self) -> &Arc<Engine> {
        self.image.engine()
    }

    /// Begins children until enough are under way.
    fn pump(self: &Arc<Self>) {
        loop {
            let mut state = lock(&self.state);
            if state.failed || state.running >= self.limit {
                break;
            }
            let next = match state.stack.last_mut() {
                Some(open) => open.children.next().map(|child| (child, open.build.clone())),
                None => None,
            };
            if let Some((child, parent)) = next {
                state.pending += 1;
                state.running += 1;
                drop(state);
                self.begin(child, parent);
            } else if let Some(begun) = state.stack.pop() {
                // All its children are begun. Whatever goes with it, goes without the lock.
                drop(state);
                drop(begun);
            } else if let Some(root) = state.roots.next() {
                state.pending += 1;
                state.running += 1;
                drop(state);
                self.begin_root(root);
            } else {
                state.ended = true;
                break;
            }
        }
        self.finish_if_done();
    }

    fn finish_if_done(self: &Arc<Self>) {
        let (done, failed) = {
            let mut state = lock(&self.state);
            let begun = state.ended || state.failed;
            if !begun || state.pending > 0 || state.running > 0 {
                return;
            }
            (state.done.take(), state.failed)
        };
        if let Some(done) = done {
            done(Ok(()));
        }
        if self.progress.end(failed)
            && let Some(headway) = &self.headway
        {
            self.engine().turns.advance(self.engine(), Some(headway));
        }
    }

    /// Begins a root. The caller has counted it as running and pending.
    fn begin_root(self: &Arc<Self>, Root { brick, ticket }: Root) {
        let child = Child { brick, is_owned: true, is_needed: true };
        if self.image.stored(brick.level).is_some() {
            self.spawn_stored(child, None);
            return;
        }
        let pass = self.clone();
        match ticket {
            Some(ticket) => {
                let done = move |result| {
                    ticket.complete(result);
                    pass.settle();
                };
                self.open(brick, Keeper::Reader, true, Done::Call(Box::new(done)));
            }
            None => self.build_all(brick, true, Box::new(move |_| pass.settle())),
        }
    }

    /// Begins a child of an open brick. The caller has counted it as running and pending.
    fn begin(self: &Arc<Self>, child: Child, parent: Arc<Build>) {
        if self.image.stored(child.brick.level).is_some() {
            self.spawn_stored(child, Some(parent));
        } else if self.visitor.is_some() {
            let pass = self.clone();
            let is_shown = child.is_owned && parent.is_shown;
            let done = move |result| pass.deliver(child, Some(&parent), result);
            self.build_all(child.brick, is_shown, Box::new(done));
        } else if self.engine().contains(self.image.slot(child.brick)) {
            let task = Task { pass: self.clone(), brick: Some((child, Some(parent))) };
            self.engine().spawn(move || task.read_cached());
        } else {
            self.build(child, parent);
        }
    }

    /// Makes a brick with all that is under it, whoever else is at it: all of it is to be shown.
    fn build_all(&self, brick: BrickId, is_shown: bool, done: BrickDone) {
        let key = self.image.slot(brick).key;
        match self.engine().lead(key, done) {
            Ok(ticket) => self.open(brick, Keeper::Level, is_shown, Done::Ticket(ticket)),
            Err(done) => match self.engine().turns.claim(&key) {
                Some(ticket) => {
                    let both = move |result: Result<Brick, ImageError>| {
                        ticket.complete(result.clone());
                        done(result);
                    };
                    self.open(brick, Keeper::Reader, is_shown, Done::Call(Box::new(both)));
                }
                None => self.open(brick, Keeper::Other, is_shown, Done::Call(done)),
            },
        }
    }

    /// Makes a child that is not in the cache, or leaves it to whoever is at it.
    fn build(self: &Arc<Self>, child: Child, parent: Arc<Build>) {
        let slot = self.image.slot(child.brick);
        let pass = self.clone();
        let done = move |result| pass.deliver(child, Some(&parent), result);
        let (ticket, keeper) = match self.engine().join(slot.key, Box::new(done)) {
            Role::Leader(ticket) => (Some(ticket), Keeper::Level),
            // Its pass may be waiting for its turn, perhaps for the end of this one.
            Role::Follower => (self.engine().turns.claim(&slot.key), Keeper::Reader),
        };
        match ticket {
            Some(ticket) => {
                self.open(child.brick, keeper, true, Done::Ticket(ticket));
            }
            None => lock(&self.state).running -= 1,
        }
    }

    /// Puts a computed brick on the stack; it is no task of its own.
    fn open(&self, brick: BrickId, keeper: Keeper, is_shown: bool, done: Done) {
        let frame = BrickFrame::new(&self.image.plan, brick);
        let children = Children::new(&self.image, brick, &frame, self.visitor.is_some());
        let build = Arc::new(Build {
            brick,
            frame,
            keeper,
            is_shown,
            started: Instant::now(),
            output: Mutex::default(),
            missing: AtomicUsize::new(usize::try_from(children.len()).unwrap_or(usize::MAX)),
            done: Mutex::new(Some(done)),
        });
        let refused = {
            let mut state = lock(&self.state);
            state.running -= 1;
            if state.failed {
                Some(build)
            } else {
                state.stack.push(Open { build, children });
                state.ended = false;
                None
            }
        };
        if let Some(build) = refused {
            build.end(Err(ImageError::Abandoned));
        }
    }

    fn spawn_stored(self: &Arc<Self>, child: Child, parent: Option<Arc<Build>>) {
        let task = Task { pass: self.clone(), brick: Some((child, parent)) };
        self.engine().spawn(move || task.read_stored());
    }

    /// Takes a child in: shows it to the visitor, joins its voxels to those of its parent.
    fn deliver(
        self: &Arc<Self>,
        child: Child,
        parent: Option<&Arc<Build>>,
        result: Result<Brick, ImageError>,
    ) {
        // Whatever happens in here, the child is counted below.
        let taken_in = guarded(|| {
            let (whole, _reserved) = self.whole(child, &result?)?;
            if self.image.stored(child.brick.level).is_some()
                && child.is_owned
                && parent.is_none_or(|parent| parent.is_shown)
            {
                self.show(child, &whole);
            }
            if let Some(parent) = parent
                && child.is_needed
            {
                parent.take_in(&self.image, child.brick, &whole)?;
            }
            Ok(())
        });
        if let Err(error) = taken_in {
            self.deliver_error(child, parent, error);
        }
        if let Some(parent) = parent
            && parent.missing.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.close(parent);
        }
        self.settle();
    }

    fn deliver_error(&self, child: Child, parent: Option<&Arc<Build>>, error: ImageError) {
        let is_damage = is_damage(&error);
        match (&self.visitor, parent) {
            (Some(visitor), _) if is_damage => visitor.miss(child.brick),
            (None, Some(parent)) if is_damage => self.skip_rest_of(parent),
            _ => self.stop(&error),
        }
        if let Some(parent) = parent
            && child.is_needed
        {
            lock(&parent.output).error.get_or_insert(error);
        }
    }

    /// A brick cannot be completed: no more of its children are begun. The error rises from it to those
    /// that it is a part of; all else goes on, since others may wait for it.
    fn skip_rest_of(&self, build: &Arc<Build>) {
        let mut state = lock(&self.state);
        if let Some(open) = state.stack.iter_mut().find(|open| Arc::ptr_eq(&open.build, build)) {
            // Never all that are missing: the one that failed is not taken off yet.
            let skipped = usize::try_from(open.children.skip_rest()).unwrap_or(0);
            build.missing.fetch_sub(skipped, Ordering::AcqRel);
        }
    }

    /// One more is delivered.
    fn settle(self: &Arc<Self>) {
        lock(&self.state).pending -= 1;
        self.finish_if_done();
    }

    /// The bytes of a delivered brick, read again where the cache has lost them meanwhile.
    fn whole(&self, child: Child, brick: &Brick) -> Result<(Whole, Option<Reserved>), ImageError> {
        match self.engine().whole(brick) {
            Ok(whole) => Ok(whole),
            Err(_) if self.image.stored(child.brick.level).is_some() => {
                let produced = self.image.produce(child.brick)?;
                let lasting = produced.keep.is_lasting();
                let is_zero = produced.is_zero;
                Ok((Whole { bytes: produced.bytes, lasting, is_zero }, None))
            }
            // A computed brick is built again when the reader asks again.
            Err(_) => Err(ImageError::Abandoned),
        }
    }

    fn show(&self, child: Child, whole: &Whole) {
        if let Some(visitor) = &self.visitor {
            let frame = BrickFrame::new(&self.image.plan, child.brick);
            visitor.visit(child.brick, &frame, &whole.bytes);
            if !whole.lasting {
                visitor.incomplete();
            }
        }
    }

    /// All children of a brick are there.
    fn close(&self, build: &Build) {
        let result = guarded(|| self.complete(build));
        if let Err(ImageError::Source(_) | ImageError::NoMemory(_) | ImageError::Fault) = &result
            && let Some(visitor) = &self.visitor
        {
            visitor.miss(build.brick);
        }
        build.end(result);
    }

    fn complete(&self, build: &Build) -> Result<Brick, ImageError> {
        let Output { mut bytes, incomplete, error } = std::mem::take(&mut *lock(&build.output));
        if let Some(error) = error {
            return Err(error);
        }
        let is_zero = bytes.is_empty();
        if is_zero {
            bytes = build.frame.zeros()?;
        }
        if let Some(visitor) = &self.visitor
            && build.is_shown
        {
            visitor.visit(build.brick, &build.frame, &bytes);
        }
        let keep = if incomplete {
            Keep::InMemory(Keep::FLEETING_TIME.max(build.started.elapsed() * FLEETING_DUTY))
        } else {
            Keep::OnDisk
        };
        let slot = self.image.slot(build.brick);
        let is_kept = match build.keeper {
            Keeper::Reader => true,
            Keeper::Level => {
                let is_wanted = build.brick.level >= self.finest_kept || build.has_readers();
                is_wanted && !self.engine().contains(slot)
            }
            Keeper::Other => false,
        };
        let purpose = if is_kept { Purpose::Reader } else { Purpose::Passing };
        let produced = Produced::new(Arc::new(bytes), keep, is_zero);
        Ok(self.engine().take_in(slot, purpose, &produced))
    }

    /// Stops the walk: what is open cannot be completed any more.
    fn stop(&self, error: &ImageError) {
        let (stack, done) = {
            let mut state = lock(&self.state);
            state.failed = true;
            (std::mem::take(&mut state.stack), state.done.take())
        };
        if let Some(done) = done {
            done(Err(error.clone()));
        }
        // Finest first: the error rises by itself, and finds those above it still there.
        for open in stack.into_iter().rev() {
            open.build.end(Err(error.clone()));
        }
    }
}
