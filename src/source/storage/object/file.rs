//! Open objects.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::super::interface::OpenFile;
use super::super::stamp::Stamp;
use super::service::Service;
use crate::objects::{Fault, ObjectError, ObjectState};
use crate::sync::lock;

/// An object whose bytes are here.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    pub(super) stamp: Stamp,
}

impl OpenFile for Whole {
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(self.stamp)
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        copy(&self.bytes, 0, out, offset..end).ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

/// An object whose parts are fetched when they are read.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) service: Arc<Service>,
    pub(super) key: String,
    pub(super) state: ObjectState,
    pub(super) stamp: Stamp,
    /// The offset and the bytes of a part that came with the opening; empty once it was read.
    pub(super) known: Mutex<(u64, Vec<u8>)>,
    /// A later answer was of another state of the object.
    pub(super) has_changed: AtomicBool,
}

impl Parts {
    fn check(&self, state: &ObjectState) -> io::Result<()> {
        if self.state.is_same(state) {
            return Ok(());
        }
        self.has_changed.store(true, Ordering::Relaxed);
        Err(ObjectError { fault: Fault::Changed, detail: String::new() }.into())
    }

    /// Reads from the part that came with the opening. It is read once: a caller that needs it again keeps it.
    fn take_known(&self, out: &mut [u8], range: &Range<u64>) -> bool {
        let mut known = lock(&self.known);
        let found = copy(&known.1, known.0, out, range.clone()).is_some();
        if found {
            *known = (0, Vec::new());
        }
        found
    }

    fn end(&self, range: &Range<u64>) -> io::Result<()> {
        let is_inside = range.end <= self.stamp.size();
        if is_inside { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl OpenFile for Parts {
    fn stamp(&self) -> io::Result<Stamp> {
        if self.has_changed.load(Ordering::Relaxed) {
            return Err(ObjectError { fault: Fault::Changed, detail: String::new() }.into());
        }
        Ok(self.stamp)
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let range = offset..offset.saturating_add(out.len() as u64);
        self.end(&range)?;
        if out.is_empty() || self.take_known(out, &range) {
            return Ok(());
        }
        let object = self.service.noted(self.service.objects.get_range(&self.key, range))?;
        self.check(&object.state)?;
        out.copy_from_slice(&object.bytes);
        Ok(())
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
        ranges.iter().try_for_each(|range| self.end(range))?;
        let (parts, state) =
            self.service.noted(self.service.objects.get_ranges(&self.key, ranges))?;
        state.map_or(Ok(()), |state| self.check(&state))?;
        Ok(parts)
    }
}

/// Copies a range of an object out of bytes that begin at `start` of it, if they hold all of it.
fn copy(bytes: &[u8], start: u64, out: &mut [u8], range: Range<u64>) -> Option<()> {
    let from = usize::try_from(range.start.checked_sub(start)?).ok()?;
    out.copy_from_slice(bytes.get(from..)?.get(..out.len())?);
    Some(())
}
