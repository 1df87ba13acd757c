//! Requests for records. One that is made from others waits for these by callback: a thread that waited could wait for a
//! task behind its own.

use std::sync::{Arc, Mutex};

use crate::engine::brick::{Brick, BrickDone, Mode, Purpose, Whole};
use crate::engine::error::ImageError;
use crate::image::measure::Measured;
use crate::image::voxels::image::Image;
use crate::sync::lock;

use super::metadata::{Metadata, Record};

/// Times that a record may be found in the cache and not be readable there.
pub(super) const MOST_LOST: u32 = 16;

/// Receives what the sources of a record say.
type SourcesDone = Box<dyn FnOnce(Result<Vec<Measured>, ImageError>) + Send>;

impl Metadata {
    /// Requests a record.
    pub(super) fn request(
        self: &Arc<Self>,
        image: &Arc<Image>,
        record: Record,
        mode: Mode,
        done: BrickDone,
    ) {
        let (metadata, of) = (self.clone(), image.clone());
        let make = move |sources: Result<Vec<Measured>, ImageError>| match sources {
            Ok(sources) => {
                let slot = metadata.slot(&of, record);
                let shared = of.shared_key(slot.key, false);
                let mode = Mode { purpose: Purpose::Metadata, shared, ..mode };
                let engine = of.engine().clone();
                let produce = move || metadata.produce(&of, record, &sources);
                engine.request(slot, mode, produce, done);
            }
            Err(error) => done(Err(error)),
        };
        self.gather(image, self.sources(image, record), Box::new(make));
    }

    /// Requests the records of some sources, all at once.
    fn gather(self: &Arc<Self>, image: &Arc<Image>, sources: Vec<Record>, done: SourcesDone) {
        if sources.is_empty() {
            return done(Ok(Vec::new()));
        }
        let found = sources.iter().map(|_| None).collect();
        let awaited = Arc::new(Mutex::new(Awaited { found, done: Some(done) }));
        for (at, source) in sources.into_iter().enumerate() {
            let awaited = awaited.clone();
            let done = move |result| Awaited::arrive(&awaited, at, result);
            self.measured_in(image, source, 0, Box::new(done));
        }
    }

    /// What a record says of ranges; `lost`: how often it was there and could not be read.
    fn measured_in(
        self: &Arc<Self>,
        image: &Arc<Image>,
        record: Record,
        lost: u32,
        done: Box<dyn FnOnce(Result<Measured, ImageError>) + Send>,
    ) {
        let (metadata, of) = (self.clone(), image.clone());
        let take = move |found: Result<Brick, ImageError>| {
            let found = match found {
                Ok(found) => found,
                Err(error) => return done(Err(error)),
            };
            let is_lasting = !matches!(found, Brick::Memory(Whole { lasting: false, .. }));
            let bytes = found.bytes().map_err(|_| ImageError::BadRecord);
            match bytes.and_then(|bytes| Ok(metadata.measured(record, &bytes, is_lasting)?)) {
                Err(_) if lost < MOST_LOST => metadata.measured_in(&of, record, lost + 1, done),
                result => done(result),
            }
        };
        let mode = Mode { unreadable: lost > 0, ..Mode::default() };
        self.request(image, record, mode, Box::new(take));
    }
}

/// Sources that are still to come.
struct Awaited {
    found: Vec<Option<Measured>>,
    done: Option<SourcesDone>,
}

impl Awaited {
    /// Takes one in; the last one, or an error, ends the wait.
    fn arrive(awaited: &Mutex<Self>, at: usize, result: Result<Measured, ImageError>) {
        let mut state = lock(awaited);
        let ended = match result {
            Ok(measured) => {
                state.found[at] = Some(measured);
                if state.found.iter().any(Option::is_none) {
                    return;
                }
                Ok(std::mem::take(&mut state.found).into_iter().flatten().collect())
            }
            Err(error) => Err(error),
        };
        let done = state.done.take();
        drop(state);
        if let Some(done) = done {
            done(ended);
        }
    }
}
