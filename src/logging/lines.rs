//! Log lines on their way to a file or to standard error: one thread writes them, and no other thread waits for it.
//!
//! Standard error may be a full disk, a pipe whose reader is gone, or one that nobody reads. Whoever has
//! a line to write leaves it here; what does not fit, or cannot be written, is counted.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Bytes of lines that may wait. The log reports lost lines when half of this is free again.
const MOST_BYTES: usize = 1 << 20;

/// How long a line is tried on a descriptor that does not wait by itself (`O_NONBLOCK`).
const TRY_TIME: Duration = Duration::from_secs(1);
const TRY_PAUSE: Duration = Duration::from_millis(5);

/// Time between two lines that tell of lost ones.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Lines that are to be written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    queue: Mutex<Queue>,
    /// A line has come, or one is written.
    changed: Condvar,
    lost: AtomicU64,
    /// Where they are written; `None`: standard error.
    file: Mutex<Option<Arc<File>>>,
}

/// A line that is to be written.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    /// It goes to standard error in any case.
    is_for_people: bool,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Waiting>,
    bytes: usize,
    is_writing: bool,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a line, if there is room for it.
    pub(super) fn push(&self, line: &[u8]) {
        if self.lock().bytes + line.len() > MOST_BYTES {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            self.add(line, false);
        }
    }

    /// Leaves a line for which there is always room: the last one. People find it on standard error, too.
    pub(super) fn push_anyway(&self, line: &[u8]) {
        self.add(line, true);
    }

    fn add(&self, line: &[u8], is_for_people: bool) {
        let mut queue = self.lock();
        queue.bytes += line.len();
        queue.lines.push_back(Waiting { bytes: line.to_vec(), is_for_people });
        drop(queue);
        self.changed.notify_all();
    }

    /// Writes to a file from now on.
    pub(super) fn write_to(&self, file: File) {
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(file));
    }

    /// The file, where lines do not go to standard error.
    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lines that were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, or until the time is over.
    pub(super) fn flush(&self, time: Duration) {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty();
        drop(self.changed.wait_timeout_while(self.lock(), time, is_busy));
    }

    fn next(&self) -> Waiting {
        let mut queue = self.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.bytes.len();
                queue.is_writing = true;
                return line;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes one line, and tells by `tell` how many were lost so far, if that is news.
    fn write_next(
        &self,
        write: &mut dyn FnMut(&[u8]) -> rustix::io::Result<usize>,
        state: &mut State,
        tell: &dyn Fn(u64),
    ) {
        let line = self.next();
        if line.is_for_people && self.file().is_some() {
            // Nobody is left to tell that it failed.
            let _ =
                put(&line.bytes, &mut |bytes| rustix::io::write(io::stderr(), bytes), &mut false);
        }
        if put(&line.bytes, write, &mut state.is_within_line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else if self.lost() > state.told
            && self.lock().bytes < MOST_BYTES / 2
            && state.told_at.is_none_or(|at| at.elapsed() >= TELL_INTERVAL)
        {
            (state.told, state.told_at) = (self.lost(), Some(Instant::now()));
            tell(state.told);
        }
        self.lock().is_writing = false;
        self.changed.notify_all();
    }

    /// Writes lines to the file, or to standard error, for ever. Not by way of `std`, whose lock a write that hangs would
    /// hold.
    pub(super) fn write_all(&self, tell: &dyn Fn(u64)) -> ! {
        let mut state = State::default();
        loop {
            let mut write = |bytes: &[u8]| match self.file() {
                Some(file) => rustix::io::write(&*file, bytes),
                None => rustix::io::write(io::stderr(), bytes),
            };
            self.write_next(&mut write, &mut state, tell);
        }
    }
}

/// What the thread that writes remembers.
#[derive(Debug, Default)]
struct State {
    /// A line was written in part only.
    is_within_line: bool,
    told: u64,
    told_at: Option<Instant>,
}

/// Writes a line as a whole, or as much of it as can be written.
fn put(
    line: &[u8],
    write: &mut dyn FnMut(&[u8]) -> rustix::io::Result<usize>,
    is_within_line: &mut bool,
) -> rustix::io::Result<()> {
    let began = Instant::now();
    let mut whole = Vec::new();
    if *is_within_line {
        whole.push(b'\n');
    }
    whole.extend(line);
    let mut rest = &whole[..];
    while !rest.is_empty() {
        match write(rest) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                rest = &rest[written.min(rest.len())..];
                *is_within_line = !rest.is_empty();
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if began.elapsed() < TRY_TIME => std::thread::sleep(TRY_PAUSE),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_told_later() {
        let lines = Lines::default();
        let line = vec![b'x'; MOST_BYTES / 4];
        for _ in 0..7 {
            lines.push(&line);
        }
        assert_eq!(lines.lost(), 3);
        lines.push_anyway(b"last\n");
        let (out, told) = (RefCell::new(Vec::new()), Cell::new(0));
        let mut write = |bytes: &[u8]| {
            out.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        };
        let mut state = State::default();
        for _ in 0..5 {
            lines.write_next(&mut write, &mut state, &|lost| told.set(told.get() + lost));
        }
        assert_eq!(told.get(), 3, "once, when there is room for it");
        assert!(out.borrow().ends_with(b"last\n"));
        assert_eq!(out.borrow().len(), MOST_BYTES + 5);
        lines.flush(Duration::ZERO);
    }

    #[test]
    fn every_error_costs_a_line_and_no_more() {
        for errno in [Errno::NOSPC, Errno::PIPE, Errno::IO, Errno::BADF, Errno::FBIG, Errno::DQUOT]
        {
            let lines = Lines::default();
            let (mut state, mut calls, mut out) = (State::default(), 0, Vec::new());
            // The second line is cut short, and the third one fails altogether.
            let mut write = |bytes: &[u8]| {
                calls += 1;
                match calls {
                    2 => Ok(2),
                    3 | 4 => Err(errno),
                    _ => {
                        out.extend_from_slice(bytes);
                        Ok(bytes.len())
                    }
                }
            };
            for line in ["1111\n", "2222\n", "3333\n", "4444\n"] {
                lines.push(line.as_bytes());
                lines.write_next(&mut write, &mut state, &|_| ());
            }
            assert_eq!(lines.lost(), 2, "{errno}");
            assert_eq!(out, b"1111\n\n4444\n", "{errno}: the rest of the second is not glued on");
        }
    }
}
