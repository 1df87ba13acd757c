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

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::{BrickKey, Role};
use crate::source::SourceError;

use super::ImageError;
use super::bricks::Image;
use super::engine::{Brick, BrickDone, BrickTicket, Engine, Keep, Mode, Produced, Purpose};
use super::frame::{BrickFrame, BrickId};
use super::reduce::join_rows;

/// Passes that read more bricks of the store than this wait for their turn.
const LARGE_PASS_BRICKS: u64 = 256;

/// Large passes under way at a time, and others: each holds some bricks in memory.
const PASSES: [usize; 2] = [2, 16];

/// Part of the cache that the levels of one image may take when a pass makes them in passing: a large
/// level must not drive out the coarse ones that every opening reads.
const KEPT_SHARE: u64 = 4;

/// Time between two lines of progress in the log.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

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
pub(super) struct Pass {
    image: Arc<Image>,
    engine: Arc<Engine>,
    visitor: Option<Arc<dyn Visitor>>,
    state: Mutex<State>,
    /// Tasks under way at a time.
    limit: usize,
    /// The finest level whose bricks are kept although nobody asked for them.
    finest_kept: usize,
    progress: Progress,
    /// Under which limit it runs; `None` for those that show everything.
    lane: Option<Lane>,
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
pub(super) struct Root {
    brick: BrickId,
    /// Who waits for it outside the pass.
    ticket: Option<BrickTicket>,
}

struct Open {
    build: Arc<Build>,
    children: Children,
}

/// A computed brick in the making.
struct Build {
    brick: BrickId,
    frame: BrickFrame,
    keeper: Keeper,
    /// It, and what it owns, is shown to the visitor here.
    is_shown: bool,
    started: Instant,
    output: Mutex<Output>,
    /// Children not delivered.
    missing: AtomicUsize,
    done: Mutex<Option<Done>>,
}

/// Who gets a computed brick.
enum Done {
    /// Who waits for it by its key.
    Ticket(BrickTicket),
    Call(BrickDone),
}

/// Who decides that a brick is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// Somebody asked for it.
    Reader,
    /// It is made in passing: kept if its level is.
    Level,
    /// Another pass makes it as well, and keeps it.
    Other,
}

#[derive(Default)]
struct Output {
    /// Allocated with the first child.
    bytes: Vec<u8>,
    incomplete: bool,
    error: Option<ImageError>,
}

/// What a child is to the brick it is a part of.
#[derive(Clone, Copy)]
struct Child {
    brick: BrickId,
    /// It is shown to the visitor here, and not as a child of another.
    is_owned: bool,
    /// Voxels of it are joined to the parent's; else all of them are dropped.
    is_needed: bool,
}

/// The bricks under a brick, one level finer.
struct Children {
    level: usize,
    dataset: u64,
    /// Positions of the children in the grid of their level.
    ranges: [Range<u64>; 3],
    /// Those that belong to this brick and to no other.
    owned: [Range<u64>; 3],
    /// Those with voxels that are not dropped.
    needed: [Range<u64>; 3],
    grid: [u64; 3],
    next: u64,
}

impl Children {
    /// `all`: also those of which every voxel is dropped, because an odd last plane is.
    fn new(image: &Image, brick: BrickId, frame: &BrickFrame, all: bool) -> Self {
        let plan = &image.plan;
        let level = brick.level - 1;
        let (own, above) = (&plan.levels[brick.level], &plan.levels[level]);
        let halved = own.halved(above);
        let grid = plan.layout.levels()[level].bricks.bricks();
        let mut ranges = [0..0, 0..0, 0..0];
        let mut owned = [0..0, 0..0, 0..0];
        let mut needed = [0..0, 0..0, 0..0];
        for axis in 0..3 {
            let step = if halved[axis] { 2 } else { 1 };
            let side = above.brick[axis];
            let (start, end) = (frame.voxels[axis].start * step, frame.voxels[axis].end * step);
            let mut last = end.div_ceil(side);
            // Who has the first voxel of a child has the child.
            let first_owned = start.div_ceil(side);
            let mut last_owned = last;
            needed[axis] = start / side..last;
            if frame.voxels[axis].end == own.size[axis] {
                last_owned = grid[axis];
                if all {
                    last = grid[axis];
                }
            }
            ranges[axis] = start / side..last;
            owned[axis] = first_owned..last_owned;
        }
        Self { level, dataset: brick.dataset, ranges, owned, needed, grid, next: 0 }
    }

    fn len(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).product()
    }

    /// Skips those that did not come yet, and tells how many.
    fn skip_rest(&mut self) -> u64 {
        let left = self.len() - self.next;
        self.next = self.len();
        left
    }
}

impl Iterator for Children {
    type Item = Child;

    fn next(&mut self) -> Option<Child> {
        if self.next >= self.len() {
            return None;
        }
        let [_, height, width] =
            [0, 1, 2].map(|axis| self.ranges[axis].end - self.ranges[axis].start);
        let offset = [self.next / width / height, self.next / width % height, self.next % width];
        self.next += 1;
        let at: [u64; 3] = std::array::from_fn(|axis| self.ranges[axis].start + offset[axis]);
        let brick = (at[0] * self.grid[1] + at[1]) * self.grid[2] + at[2];
        let is_owned = (0..3).all(|axis| self.owned[axis].contains(&at[axis]));
        let is_needed = (0..3).all(|axis| self.needed[axis].contains(&at[axis]));
        let brick = BrickId { level: self.level, dataset: self.dataset, brick };
        Some(Child { brick, is_owned, is_needed })
    }
}

/// Passes that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct PassQueue(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    /// Large passes, and others.
    running: [usize; 2],
    waiting: Vec<Waiting>,
}

struct Waiting {
    key: BrickKey,
    image: Arc<Image>,
    brick: BrickId,
    ticket: BrickTicket,
    lane: Lane,
}

/// Which limit a pass is under.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PassQueue {
    /// Takes the duty for a brick from a pass that has not begun.
    fn claim(&self, key: &BrickKey) -> Option<BrickTicket> {
        let mut queue = lock(&self.0);
        let at = queue.waiting.iter().position(|waiting| waiting.key == *key)?;
        Some(queue.waiting.remove(at).ticket)
    }

    /// Gives up what waits: the readers get an error.
    pub(super) fn clear(&self) {
        let waiting = std::mem::take(&mut lock(&self.0).waiting);
        drop(waiting);
    }

    /// Starts what may start, after the end of a pass in `finished`.
    fn advance(&self, engine: &Arc<Engine>, finished: Option<Lane>) {
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
}

/// Requests a brick of a computed level.
pub(super) fn request(image: &Arc<Image>, engine: &Arc<Engine>, brick: BrickId, done: BrickDone) {
    let (image, owner) = (image.clone(), engine.clone());
    let is_told = image.known_derived_id().is_some();
    let task = move || {
        let engine = owner;
        let slot = image.slot(brick);
        // Before anything else: who is at it may take long.
        if let Some(found) = engine.get(slot) {
            done(Ok(found));
            return;
        }
        let is_large = bricks_under(&image, brick) > LARGE_PASS_BRICKS;
        let lane = if is_large { Lane::Large } else { Lane::Small };
        {
            // Locked over both steps: who finds the brick under way finds it in the queue, too.
            let mut queue = lock(&engine.passes.0);
            let Role::Leader(ticket) = engine.join(slot.key, done) else { return };
            queue.waiting.push(Waiting { key: slot.key, image, brick, ticket, lane });
        }
        engine.passes.advance(&engine, None);
    };
    // Away from the caller; telling where the brick is kept may look through folders.
    if is_told { engine.spawn(task) } else { engine.spawn_slow(task) }
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

/// The finest level that fits into so many bytes together with all coarser ones.
fn finest_kept(image: &Image, room: u64) -> usize {
    let datasets = image.plan.datasets();
    let bytes = |level: usize| image.plan.layout.levels()[level].data_bytes() * datasets;
    let mut taken = 0_u64;
    let mut finest = image.plan.levels.len();
    while finest > 0 {
        taken = taken.saturating_add(bytes(finest - 1));
        if taken > room {
            break;
        }
        finest -= 1;
    }
    finest
}

/// Shows every brick of some datasets to a visitor, and calls `done` at the end. Damaged bricks are
/// told to the visitor and do not stop the pass.
pub(super) fn visit_all(
    image: &Arc<Image>,
    engine: &Arc<Engine>,
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
    let pass = Pass::new(image.clone(), engine, Some(visitor), Box::new(roots), total, None);
    lock(&pass.state).done = Some(done);
    pass.pump();
}

impl Pass {
    fn new(
        image: Arc<Image>,
        engine: &Arc<Engine>,
        visitor: Option<Arc<dyn Visitor>>,
        roots: Box<dyn Iterator<Item = Root> + Send>,
        total: u64,
        lane: Option<Lane>,
    ) -> Arc<Self> {
        let what = if visitor.is_some() { "reading all voxels" } else { "computing levels" };
        let progress = Progress::new(what, image.source.folder().display().to_string(), total);
        let finest_kept = finest_kept(&image, engine.cache_bytes() / KEPT_SHARE);
        Arc::new(Self {
            image,
            engine: engine.clone(),
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
            limit: thread::available_parallelism().map_or(2, |cores| cores.get() * 2),
            finest_kept,
            progress,
            lane,
        })
    }

    fn start_root(
        image: Arc<Image>,
        engine: &Arc<Engine>,
        brick: BrickId,
        ticket: BrickTicket,
        lane: Lane,
    ) {
        let total = bricks_under(&image, brick);
        let roots = Box::new(std::iter::once(Root { brick, ticket: Some(ticket) }));
        Self::new(image, engine, None, roots, total, Some(lane)).pump();
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
        let done = {
            let mut state = lock(&self.state);
            let begun = state.ended || state.failed;
            if !begun || state.pending > 0 || state.running > 0 {
                return;
            }
            state.done.take()
        };
        if let Some(done) = done {
            done(Ok(()));
        }
        if self.progress.end() && self.lane.is_some() {
            self.engine.passes.advance(&self.engine, self.lane);
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
        } else if self.engine.contains(self.image.slot(child.brick)) {
            let task = Task { pass: self.clone(), brick: Some((child, Some(parent))) };
            self.engine.spawn(move || task.read_cached());
        } else {
            self.build(child, parent);
        }
    }

    /// Makes a brick with all that is under it, whoever else is at it: all of it is to be shown.
    fn build_all(&self, brick: BrickId, is_shown: bool, done: BrickDone) {
        let key = self.image.slot(brick).key;
        match self.engine.lead(key, done) {
            Ok(ticket) => self.open(brick, Keeper::Level, is_shown, Done::Ticket(ticket)),
            Err(done) => match self.engine.passes.claim(&key) {
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
        let (ticket, keeper) = match self.engine.join(slot.key, Box::new(done)) {
            Role::Leader(ticket) => (Some(ticket), Keeper::Level),
            // Its pass may be waiting for its turn, perhaps for the end of this one.
            Role::Follower => (self.engine.passes.claim(&slot.key), Keeper::Reader),
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
        self.engine.spawn(move || task.read_stored());
    }

    /// Takes a child in: shows it to the visitor, joins its voxels to those of its parent.
    fn deliver(
        self: &Arc<Self>,
        child: Child,
        parent: Option<&Arc<Build>>,
        result: Result<Brick, ImageError>,
    ) {
        let whole = result.and_then(|brick| self.whole(child, &brick));
        match whole {
            Ok((bytes, lasting)) => {
                if self.image.stored(child.brick.level).is_some()
                    && child.is_owned
                    && parent.is_none_or(|parent| parent.is_shown)
                {
                    self.show(child, &bytes, lasting);
                }
                if let Some(parent) = parent
                    && child.is_needed
                {
                    parent.take_in(&self.image, child.brick, &bytes, lasting);
                }
            }
            Err(error) => self.deliver_error(child, parent, error),
        }
        if let Some(parent) = parent
            && parent.missing.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.close(parent);
        }
        self.settle();
    }

    fn deliver_error(&self, child: Child, parent: Option<&Arc<Build>>, error: ImageError) {
        let is_damage = matches!(&error, ImageError::Source(source)
            if matches!(**source, SourceError::Chunk { .. } | SourceError::Io { .. }));
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

    /// A brick cannot be completed, nor those it is a part of: no more of their children are begun.
    /// The stack is a line of descent, so those are the ones below it. What is above goes on: others
    /// may wait for it.
    fn skip_rest_of(&self, build: &Arc<Build>) {
        let mut state = lock(&self.state);
        let at = state.stack.iter().position(|open| Arc::ptr_eq(&open.build, build));
        let doomed = at.map_or(0, |at| at + 1);
        for open in &mut state.stack[..doomed] {
            // Never all: each still waits for the one that failed, or that it is a part of.
            let skipped = usize::try_from(open.children.skip_rest()).unwrap_or(0);
            open.build.missing.fetch_sub(skipped, Ordering::AcqRel);
        }
    }

    /// One more is delivered.
    fn settle(self: &Arc<Self>) {
        lock(&self.state).pending -= 1;
        self.finish_if_done();
    }

    /// The bytes of a delivered brick, read again where the cache has lost them meanwhile.
    fn whole(&self, child: Child, brick: &Brick) -> Result<(Arc<Vec<u8>>, bool), ImageError> {
        match brick.whole() {
            Ok(whole) => Ok(whole),
            Err(_) if self.image.stored(child.brick.level).is_some() => {
                let produced = self.image.produce(&self.engine, child.brick)?;
                Ok((Arc::new(produced.bytes), produced.keep == Keep::OnDisk))
            }
            // A computed brick is built again when the reader asks again.
            Err(_) => Err(ImageError::Abandoned),
        }
    }

    fn show(&self, child: Child, bytes: &[u8], lasting: bool) {
        if let Some(visitor) = &self.visitor {
            visitor.visit(child.brick, &BrickFrame::new(&self.image.plan, child.brick), bytes);
            if !lasting {
                visitor.incomplete();
            }
        }
    }

    /// All children of a brick are there.
    fn close(&self, build: &Build) {
        let Output { bytes, incomplete, error } = std::mem::take(&mut *lock(&build.output));
        if let Some(error) = error {
            if let Some(visitor) = &self.visitor {
                visitor.miss(build.brick);
            }
            build.end(Err(error));
            return;
        }
        if let Some(visitor) = &self.visitor
            && build.is_shown
        {
            visitor.visit(build.brick, &build.frame, &bytes);
        }
        let (_, follows_source) = self.image.derived_id();
        let keep = if incomplete && !follows_source {
            let Keep::InMemory(least) = Keep::FLEETING else { return };
            Keep::InMemory(least.max(build.started.elapsed() * FLEETING_DUTY))
        } else {
            Keep::OnDisk
        };
        let slot = self.image.slot(build.brick);
        let is_kept = match build.keeper {
            Keeper::Reader => true,
            Keeper::Level if build.has_readers() => true,
            Keeper::Level => build.brick.level >= self.finest_kept && !self.engine.contains(slot),
            Keeper::Other => false,
        };
        let purpose = if is_kept { Purpose::Reader } else { Purpose::Passing };
        build.end(Ok(self.engine.take_in(slot, purpose, Produced { bytes, keep })));
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

/// A task on a worker. If it ends without having handed its brick on, because it panicked or never
/// ran, the brick is delivered as an error.
struct Task {
    pass: Arc<Pass>,
    brick: Option<(Child, Option<Arc<Build>>)>,
}

impl Task {
    /// Reads a brick of the store.
    fn read_stored(mut self) {
        let pass = self.pass.clone();
        let Some((child, parent)) = self.brick.take() else { return };
        let slot = pass.image.slot(child.brick);
        let deliverer = pass.clone();
        let done: BrickDone =
            Box::new(move |result| deliverer.deliver(child, parent.as_ref(), result));
        let produce = |engine: &Arc<Engine>| pass.image.produce(engine, child.brick);
        // What is kept under an identity that follows the chunks is made from chunks as they are
        // now, and not from what was read before that identity was told.
        let (_, unreadable) = pass.image.derived_id();
        let mode = Mode { unreadable, purpose: Purpose::Passing };
        match pass.engine.lead(slot.key, done) {
            Ok(ticket) => pass.engine.fill(slot, mode, produce, ticket),
            // A reader is at it, perhaps since before.
            Err(done) => done(
                produce(&pass.engine)
                    .map(|produced| pass.engine.take_in(slot, Purpose::Passing, produced)),
            ),
        }
        pass.progress.advance();
    }

    /// Reads a computed brick from the cache, or builds it if it went meanwhile.
    fn read_cached(mut self) {
        let Some((child, _)) = self.brick else { return };
        let found = self.pass.engine.get(self.pass.image.slot(child.brick));
        // Read here: if the cache fails, the brick can still be built.
        let whole = found.and_then(|found| found.whole().ok());
        let found = whole.map(|(bytes, lasting)| Brick::Memory { bytes, lasting });
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
        if let Some((child, parent)) = self.brick.take() {
            self.pass.deliver(child, parent.as_ref(), Err(ImageError::Abandoned));
        }
        lock(&self.pass.state).running -= 1;
        self.pass.pump();
    }
}

impl Build {
    /// Joins the voxels of a child to this brick's.
    fn take_in(&self, image: &Image, child: BrickId, bytes: &[u8], lasting: bool) {
        let mut output = lock(&self.output);
        output.incomplete |= !lasting;
        if output.bytes.is_empty() {
            // Bricks fit memory: their size is bounded when they are planned.
            output.bytes = vec![0; usize::try_from(self.frame.bytes()).unwrap_or(0)];
        }
        let levels = &image.plan.levels;
        let halved = levels[self.brick.level].halved(&levels[child.level]);
        let frame = BrickFrame::new(&image.plan, child);
        join(image, (&self.frame, &mut output.bytes), (&frame, bytes), halved);
    }

    /// Whether somebody besides the pass waits for it by now.
    fn has_readers(&self) -> bool {
        matches!(&*lock(&self.done), Some(Done::Ticket(ticket)) if ticket.waiters() > 1)
    }

    /// Hands the result on, once.
    fn end(&self, result: Result<Brick, ImageError>) {
        let done = lock(&self.done).take();
        match done {
            Some(Done::Ticket(ticket)) => ticket.complete(result),
            Some(Done::Call(done)) => done(result),
            None => {}
        }
    }
}

/// Joins the voxels of a brick to those of one in the next coarser level, as far as they overlap.
fn join(
    image: &Image,
    (to, out): (&BrickFrame, &mut [u8]),
    (from, bytes): (&BrickFrame, &[u8]),
    halved: [bool; 3],
) {
    let step = halved.map(|halved| if halved { 2 } else { 1 });
    let inside: [Range<u64>; 3] = std::array::from_fn(|axis| {
        // Bricks begin at even voxels along halved axes; an odd last one is dropped.
        let start = to.voxels[axis].start.max(from.voxels[axis].start / step[axis]);
        start..to.voxels[axis].end.min(from.voxels[axis].end / step[axis])
    });
    let [zs, ys, xs] = inside;
    if xs.is_empty() {
        return;
    }
    let mut scratch: [Vec<u8>; 4] = std::array::from_fn(|_| Vec::new());
    for z in zs {
        for y in ys.clone() {
            let mut rows: [&[u8]; 4] = [&[]; 4];
            let mut count = 0;
            for (row, scratch) in rows.iter_mut().zip(&mut scratch) {
                let (dz, dy) = (count / step[1], count % step[1]);
                if dz >= step[0] {
                    break;
                }
                let first = [z * step[0] + dz, y * step[1] + dy, xs.start * step[2]];
                *row = from.row(bytes, first, xs.end * step[2], scratch);
                count += 1;
            }
            let rows = &rows[..usize::try_from(count).unwrap_or(0)];
            join_row(image, (to, &mut *out), rows, (z, y, xs.clone()), halved[2]);
        }
    }
}

/// Writes one row of joined voxels, chunk by chunk.
fn join_row(
    image: &Image,
    (to, out): (&BrickFrame, &mut [u8]),
    rows: &[&[u8]],
    (z, y, xs): (u64, u64, Range<u64>),
    half_x: bool,
) {
    let index = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let voxel_bytes = to.voxel_bytes();
    let per_voxel = if half_x { 2 * voxel_bytes } else { voxel_bytes };
    let mut x = xs.start;
    while x < xs.end {
        let stop = to.run_end(x, xs.end);
        let from = index(x - xs.start) * per_voxel;
        let mut parts: [&[u8]; 4] = [&[]; 4];
        for (part, row) in parts.iter_mut().zip(rows) {
            *part = &row[from..from + index(stop - x) * per_voxel];
        }
        let at = to.offset([z, y, x]);
        let out = &mut out[at..at + index(stop - x) * voxel_bytes];
        let plan = &image.plan;
        join_rows(plan.reduction, plan.target, &parts[..rows.len()], half_x, out);
        x = stop;
    }
}

/// Tells how far a long pass has come.
struct Progress {
    what: &'static str,
    image: String,
    total: u64,
    read: AtomicU64,
    started: Instant,
    told: Mutex<Option<Instant>>,
    ended: AtomicU64,
}

impl Progress {
    fn new(what: &'static str, image: String, total: u64) -> Self {
        let started = Instant::now();
        let told = Mutex::new(Some(started));
        let counter = AtomicU64::default;
        Self { what, image, total, read: counter(), started, told, ended: counter() }
    }

    fn advance(&self) {
        let read = self.read.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = lock(&self.told);
        if told.is_some_and(|told| told.elapsed() >= PROGRESS_INTERVAL) {
            *told = Some(Instant::now());
            let percent = read.min(self.total) * 100 / self.total.max(1);
            let (image, total) = (&self.image, self.total);
            tracing::info!(image, read, total, percent, "{}", self.what);
        }
    }

    /// Tells the end of a pass that took long; whether this is the first call.
    fn end(&self) -> bool {
        if self.ended.fetch_add(1, Ordering::Relaxed) > 0 {
            return false;
        }
        let seconds = self.started.elapsed().as_secs();
        if self.started.elapsed() >= PROGRESS_INTERVAL {
            let read = self.read.load(Ordering::Relaxed);
            tracing::info!(image = self.image, read, seconds, "{}: done", self.what);
        }
        true
    }
}
