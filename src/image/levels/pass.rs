//! A walk over the pyramid of one image: see [`super`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::cache::Role;
use crate::engine::Engine;
use crate::engine::brick::{Brick, BrickDone, Keep, Mode, Produced, Purpose, Whole};
use crate::engine::error::{ImageError, guarded};
use crate::engine::turns::Headway;
use crate::image::damage::is_damage;
use crate::image::progress::Progress;
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::resources::Resources;
use crate::resources::memory::Reserved;
use crate::resources::workers::Workers;
use crate::sync::lock;

use super::children::{Child, Children};
use super::cost::{bricks_under, tasks_at_a_time};
use super::errand::Errand;
use super::open::{Build, Done, Keeper, Output};
use super::visitor::Visitor;
use super::walk::{Root, Step, Walk};

/// Part of the cache that levels made in passing may take: a large one must not drive out coarse ones.
const KEPT_SHARE: u64 = 4;

/// Bricks of the store under a brick from which on it pays to ask the shared cache for it.
const ASKED_FOR_BRICKS: u64 = 64;

/// Bricks that the source may complete any time are kept this many times longer than it took to make them.
const FLEETING_DUTY: u32 = 10;

/// A walk over the pyramid of one image.
pub(super) struct Pass {
    image: Arc<Image>,
    visitor: Option<Arc<dyn Visitor>>,
    walk: Mutex<Walk>,
    /// Tasks under way at a time.
    limit: usize,
    /// The finest level of which computed and fetched bricks are kept although no reader asked for them.
    finest_kept: usize,
    progress: Arc<Progress>,
    /// Its turn; none for passes that show everything or are on an errand.
    headway: Option<Arc<Headway>>,
    errand: Option<Errand>,
}

impl Pass {
    pub(super) fn new(
        image: Arc<Image>,
        visitor: Option<Arc<dyn Visitor>>,
        walk: Walk,
        progress: Arc<Progress>,
        headway: Option<Arc<Headway>>,
        errand: Option<Errand>,
    ) -> Arc<Self> {
        Arc::new(Self {
            finest_kept: image.plan.finest_within(image.cache_bytes() / KEPT_SHARE),
            limit: tasks_at_a_time(&image),
            image,
            visitor,
            walk: Mutex::new(walk),
            progress,
            headway,
            errand,
        })
    }

    fn engine(&self) -> &Arc<Engine> {
        self.image.engine()
    }

    fn workers(&self) -> &Workers {
        let Resources { workers, fetchers, .. } = &**self.engine().resources();
        if self.image.is_remote() { fetchers } else { workers }
    }

    /// Begins children until enough are under way. Called off, it stops, and readers who wait ask again.
    pub(super) fn pump(self: &Arc<Self>) {
        if self.errand.as_ref().is_some_and(Errand::is_stopped) {
            self.stop(&ImageError::Abandoned);
        }
        loop {
            let limit = if self.errand.is_some() { self.workers().spare() } else { self.limit };
            let step = lock(&self.walk).next(limit.min(self.limit));
            match step {
                Step::Child(child, parent) => self.begin(child, parent),
                Step::Root(root) => self.begin_root(root),
                Step::Drop(build) => drop(build),
                Step::Rest => break,
            }
        }
        self.finish_if_done();
    }

    fn finish_if_done(&self) {
        let end = lock(&self.walk).end();
        let Some((failed, done)) = end else { return };
        if let Some(done) = done {
            done(Ok(()));
        }
        if self.progress.end(failed)
            && let Some(headway) = &self.headway
        {
            self.engine().turns().advance(Some(headway));
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
            None if self.visitor.is_some() => {
                self.build_all(brick, true, Box::new(move |_| pass.settle()));
            }
            None => self.build(child, None),
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
        } else if self.may_be_there(child.brick) {
            let task = Task { pass: self.clone(), brick: Some((child, Some(parent))) };
            self.workers().spawn(move || task.read_cached());
        } else {
            self.build(child, Some(parent));
        }
    }

    /// Whether a brick is in the cache, or may be in the shared one and costs more than the question.
    fn may_be_there(&self, brick: BrickId) -> bool {
        let slot = self.image.slot(brick);
        self.engine().kept().contains(slot)
            || (self.image.shared_key(slot.key, false).is_some()
                && bricks_under(&self.image, brick) >= ASKED_FOR_BRICKS)
    }

    /// Makes a brick with all that is under it, even if another thread makes it too: all of it is to be shown.
    fn build_all(&self, brick: BrickId, is_shown: bool, done: BrickDone) {
        let key = self.image.slot(brick).key;
        match self.engine().lead(key, done) {
            Ok(ticket) => self.open(brick, Keeper::Level, is_shown, Done::Ticket(ticket)),
            Err(done) => match self.engine().turns().claim(&key) {
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

    /// Makes a root or a child that is not in the cache, unless another thread makes it.
    fn build(self: &Arc<Self>, child: Child, parent: Option<Arc<Build>>) {
        let slot = self.image.slot(child.brick);
        let pass = self.clone();
        let done = move |result| pass.deliver(child, parent.as_ref(), result);
        let (ticket, keeper) = match self.engine().join(slot.key, Box::new(done)) {
            Role::Leader(ticket) => (Some(ticket), Keeper::Level),
            // Its pass may be waiting for its turn, perhaps for the end of this one.
            Role::Follower => (self.engine().turns().claim(&slot.key), Keeper::Reader),
        };
        match ticket {
            Some(ticket) => {
                self.open(child.brick, keeper, true, Done::Ticket(ticket));
            }
            None => lock(&self.walk).running -= 1,
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
        let opened = lock(&self.walk).open(build, children);
        if let Err(refused) = opened {
            refused.end(Err(ImageError::Abandoned));
        }
    }

    fn spawn_stored(self: &Arc<Self>, child: Child, parent: Option<Arc<Build>>) {
        let task = Task { pass: self.clone(), brick: Some((child, parent)) };
        self.workers().spawn(move || task.read_stored());
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
        match (&self.visitor, parent, &self.errand) {
            (Some(visitor), ..) if is_damage => visitor.miss(child.brick, &error),
            // The error rises from the brick to those that it is a part of; all else goes on, since
            // readers may wait for it.
            (None, Some(parent), _) if is_damage => lock(&self.walk).skip_rest_of(parent),
            (None, None, Some(errand)) if is_damage => {
                errand.failed(&self.image, child.brick, &error);
            }
            _ => self.stop(&error),
        }
        if let Some(parent) = parent
            && child.is_needed
        {
            lock(&parent.output).error.get_or_insert(error);
        }
    }

    /// One more is delivered.
    fn settle(&self) {
        lock(&self.walk).pending -= 1;
        self.finish_if_done();
    }

    /// The bytes of a delivered brick, read again where the cache has lost them meanwhile.
    fn whole(&self, child: Child, brick: &Brick) -> Result<(Whole, Option<Reserved>), ImageError> {
        match brick.whole(self.engine().resources()) {
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
            visitor.visit(child.brick, &frame, &whole.bytes, whole.lasting);
        }
    }

    /// All children of a brick are there.
    fn close(&self, build: &Build) {
        let result = guarded(|| self.complete(build));
        if let Err(error) = &result
            && let ImageError::Source(_) | ImageError::NoMemory(_) | ImageError::Fault = error
            && let Some(visitor) = &self.visitor
        {
            visitor.miss(build.brick, error);
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
            visitor.visit(build.brick, &build.frame, &bytes, !incomplete);
        }
        let keep = if incomplete {
            Keep::InMemory(Keep::FLEETING_TIME.max(build.started.elapsed() * FLEETING_DUTY))
        } else {
            Keep::OnDisk
        };
        let slot = self.image.slot(build.brick);
        let errand = self.errand.as_ref().filter(|errand| errand.keeps(build.brick.level));
        let is_kept = match build.keeper {
            Keeper::Reader => true,
            Keeper::Level => {
                let is_wanted = build.brick.level >= self.finest_kept && !self.distrusts_cache();
                let is_wanted = is_wanted || build.has_readers();
                let kept = self.engine().kept();
                if errand.is_some() {
                    !kept.is_cached(slot)
                } else {
                    is_wanted && !kept.contains(slot)
                }
            }
            Keeper::Other => false,
        };
        let purpose = match errand {
            Some(_) if is_kept => Purpose::Warming,
            None if is_kept => Purpose::Reader,
            _ => Purpose::Passing,
        };
        let produced = Produced::new(Arc::new(bytes), keep, is_zero);
        if let (true, Some(key)) = (is_kept, self.image.shared_key(slot.key, false)) {
            self.engine().share(key, keep, &produced.bytes);
        }
        let taken_in = self.engine().take_in(slot, purpose, &produced);
        if let Some(errand) = errand.filter(|_| is_kept) {
            errand.made(self.engine(), slot, (keep, produced.bytes.len() as u64));
            self.progress.advance();
        }
        Ok(taken_in)
    }

    /// Whether the visitor is to see what the store has.
    fn distrusts_cache(&self) -> bool {
        self.errand.is_some() && self.visitor.is_some()
    }

    /// Reads a brick of the store that is to be in the cache, unless another thread reads it.
    fn keep_stored(self: &Arc<Self>, child: Child, parent: Option<Arc<Build>>, errand: &Errand) {
        let (engine, slot) = (self.engine(), self.image.slot(child.brick));
        errand.await_room(engine, slot);
        let deliverer = self.clone();
        let done = move |result| deliverer.deliver(child, parent.as_ref(), result);
        let Role::Leader(ticket) = engine.join(slot.key, Box::new(done)) else { return };
        let mut made = None;
        let produce = || {
            let produced = self.image.produce(child.brick)?;
            made = Some((produced.keep, produced.bytes.len() as u64));
            Ok(produced)
        };
        let shared = self.image.shared_key(slot.key, true);
        let mode = Mode { purpose: Purpose::Warming, unreadable: false, shared };
        engine.fill(slot, mode, produce, ticket);
        if let Some(made) = made {
            errand.made(engine, slot, made);
            self.progress.advance();
        }
    }

    /// Stops the walk: what is open cannot be completed any more.
    fn stop(&self, error: &ImageError) {
        let (open, done) = lock(&self.walk).stop();
        if let Some(done) = done {
            done(Err(error.clone()));
        }
        // Finest first: the error rises by itself, and finds those above it still there.
        for build in open {
            build.end(Err(error.clone()));
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
        if let Some(errand) = &pass.errand
            && errand.keeps(child.brick.level)
        {
            return pass.keep_stored(child, parent, errand);
        }
        let is_kept = pass.image.is_remote()
            && child.brick.level >= pass.finest_kept
            && !pass.distrusts_cache();
        if let Some(found) = is_kept.then(|| pass.engine().kept().get(slot)).flatten() {
            pass.deliver(child, parent.as_ref(), Ok(found));
            pass.progress.advance();
            return;
        }
        let deliverer = pass.clone();
        let done: BrickDone =
            Box::new(move |result| deliverer.deliver(child, parent.as_ref(), result));
        let produce = || pass.image.produce(child.brick);
        let purpose = if is_kept { Purpose::Reader } else { Purpose::Passing };
        let mode = Mode { purpose, unreadable: pass.distrusts_cache(), ..Mode::default() };
        if is_kept {
            // What has to be fetched is fetched once, whoever else wants it.
            if let Role::Leader(ticket) = pass.engine().join(slot.key, done) {
                pass.engine().fill(slot, mode, produce, ticket);
            }
        } else {
            match pass.engine().lead(slot.key, done) {
                Ok(ticket) => pass.engine().fill(slot, mode, produce, ticket),
                // A reader's request produces it, perhaps since before.
                Err(done) => {
                    let taken = produce().map(|made| pass.engine().take_in(slot, purpose, &made));
                    done(taken);
                }
            }
        }
        if pass.errand.is_none() || pass.distrusts_cache() {
            pass.progress.advance();
        }
    }

    /// Reads a computed brick from the cache or the shared one, or builds it if it is in neither.
    fn read_cached(mut self) {
        let Some((child, _)) = self.brick else { return };
        let (engine, image) = (self.pass.engine(), &self.pass.image);
        let slot = image.slot(child.brick);
        // Read here: if the cache fails, the brick can still be built.
        let whole = |found: Brick| found.whole(engine.resources()).ok();
        let found = engine.kept().get(slot).and_then(whole).or_else(|| {
            let key = image.shared_key(slot.key, false)?;
            engine.get_shared(key, slot).and_then(whole)
        });
        let (found, _reserved) =
            found.map_or((None, None), |(whole, reserved)| (Some(Brick::Memory(whole)), reserved));
        let Some((child, parent)) = self.brick.take() else { return };
        match (found, parent) {
            (None, Some(parent)) => {
                // What `build` takes away is not this task.
                lock(&self.pass.walk).running += 1;
                self.pass.build(child, Some(parent));
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
        lock(&self.pass.walk).running -= 1;
        self.pass.pump();
    }
}
