//! Copies pieces, many at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::image::ImageError;

use super::commits::Commits;
use super::error::ExportError;
use super::journal::{Record, sum};
use super::output::write_sparse;
use super::{Original, Output, Watcher};

/// Time between two looks at whether the user wants an end.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// How a copy works.
#[derive(Debug, Clone, Copy)]
pub struct Copying {
    /// Pieces under way at a time.
    pub at_a_time: usize,
}

/// Where pieces go, from any thread.
struct Sink {
    file: File,
    path: PathBuf,
    first: u64,
}

/// A piece that has arrived.
type Arrived = (Range<u64>, Result<Record, ExportError>);

impl Sink {
    fn take(&self, piece: Range<u64>, bytes: &[u8]) -> Result<Record, ExportError> {
        let failed = |error| ExportError::file(&self.path, error);
        write_sparse(&self.file, piece.start - self.first, bytes).map_err(failed)?;
        Ok(Record { end: piece.end, sum: sum(bytes, piece.start) })
    }
}

/// Copies the missing bytes before `end`.
///
/// # Errors
/// [`ExportError`]. What was written before is in the journal.
pub fn copy(
    original: &dyn Original,
    output: &mut Output,
    end: u64,
    how: Copying,
    watcher: &dyn Watcher,
) -> Result<(), ExportError> {
    let end = end.min(output.range.end);
    if output.done >= end {
        return Ok(());
    }
    let file = output.file.try_clone().map_err(|error| output.failed(error))?;
    let sink = Sink { file, path: output.path.clone(), first: output.first };
    let (sink, range) = (Arc::new(sink), output.done..end);
    Commits::run(output, |commits| pump(original, &sink, range, how, watcher, commits))
}

/// Keeps pieces under way until all are written.
fn pump(
    original: &dyn Original,
    sink: &Arc<Sink>,
    range: Range<u64>,
    how: Copying,
    watcher: &dyn Watcher,
    commits: &mut Commits,
) -> Result<(), ExportError> {
    let (sender, arrived) = channel::<Arrived>();
    // Pieces that wait for one before them.
    let mut early = BTreeMap::new();
    let (mut next, mut under_way, mut done) = (range.start, 0_usize, range.start - sink.first);
    let mut result = Ok(());
    loop {
        if result.is_ok() && next < range.end && watcher.is_stopped() {
            result = Err(ExportError::Stopped);
        }
        while result.is_ok() && next < range.end && under_way < how.at_a_time.max(1) {
            let piece = next..original.end_of_piece(next).min(range.end);
            next = piece.end;
            under_way += 1;
            let errand =
                Errand { sink: sink.clone(), sender: sender.clone(), piece: piece.clone() };
            original.read(piece.start, piece.end, Box::new(move |read| errand.end(read)));
        }
        if under_way == 0 {
            return result;
        }
        match arrived.recv_timeout(LOOK_TIME) {
            Ok((piece, taken)) => {
                under_way -= 1;
                match taken {
                    Ok(record) => {
                        done += piece.end - piece.start;
                        early.insert(piece.start, record);
                        while let Some(record) = early.remove(&commits.end()) {
                            commits.push(record);
                        }
                    }
                    Err(error) => result = result.and(Err(error)),
                }
            }
            // A sender is here, so this is no end.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        watcher.written(done);
        commits.commit_soon();
    }
}

/// A piece under way. However it ends, it arrives.
struct Errand {
    sink: Arc<Sink>,
    sender: Sender<Arrived>,
    piece: Range<u64>,
}

impl Errand {
    fn end(mut self, read: Result<&[u8], ExportError>) {
        let piece = std::mem::take(&mut self.piece);
        let taken = read.and_then(|bytes| self.sink.take(piece.clone(), bytes));
        // The receiver waits for all that are under way.
        let _ = self.sender.send((piece, taken));
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if !self.piece.is_empty() {
            let piece = self.piece.clone();
            let lost = ExportError::Image { range: piece.clone(), cause: ImageError::Abandoned };
            let _ = self.sender.send((piece, Err(lost)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::export::original::ReadDone;
    use crate::export::{Start, Target};

    /// Bytes by a formula, in pieces of 1000.
    struct Formula {
        size: u64,
        identity: &'static str,
        /// The first piece that cannot be read.
        broken: AtomicU64,
    }

    fn byte(at: u64) -> u8 {
        if (at / 200_000).is_multiple_of(2) { 0 } else { (at % 251) as u8 }
    }

    impl Original for Formula {
        fn identity(&self) -> String {
            self.identity.to_owned()
        }

        fn size(&self) -> u64 {
            self.size
        }

        fn end_of_piece(&self, from: u64) -> u64 {
            (from / 1000 * 1000 + 1000).min(self.size)
        }

        fn cut_near(&self, offset: u64) -> u64 {
            offset.next_multiple_of(1000).min(self.size)
        }

        fn read(&self, from: u64, to: u64, done: ReadDone) {
            if from >= self.broken.load(Ordering::Relaxed) {
                drop(done);
            } else {
                let bytes: Vec<u8> = (from..to).map(byte).collect();
                // Later pieces arrive first, now and then.
                match from / 1000 % 3 {
                    0 => drop(thread::spawn(move || done(Ok(&bytes)))),
                    _ => done(Ok(&bytes)),
                }
            }
        }
    }

    #[derive(Default)]
    struct Watch {
        stopped: AtomicBool,
        stop_at: Option<u64>,
    }

    impl Watcher for Watch {
        fn written(&self, done: u64) {
            if self.stop_at.is_some_and(|at| done >= at) {
                self.stopped.store(true, Ordering::Relaxed);
            }
        }

        fn is_stopped(&self) -> bool {
            self.stopped.load(Ordering::Relaxed)
        }
    }

    const HOW: Copying = Copying { at_a_time: 5 };

    fn formula(size: u64) -> Formula {
        Formula { size, identity: "one", broken: AtomicU64::new(u64::MAX) }
    }

    #[test]
    fn what_is_cut_off_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = Target { path: folder.path().join("out"), force: false, part: None };
        let original = formula(1_234_567);
        let open = || Output::open(&target, &original, 0..original.size).expect("opens");
        for stop_at in [100_000, 600_000] {
            let (mut output, _) = open();
            let watch = Watch { stop_at: Some(stop_at), ..Watch::default() };
            let copied = copy(&original, &mut output, original.size, HOW, &watch);
            assert!(matches!(copied, Err(ExportError::Stopped)), "{copied:?}");
            assert!((stop_at..original.size).contains(&output.done), "{}", output.done);
        }
        let (second, start) = open();
        assert_eq!(start, Start::Resumed(second.done));
        assert!(matches!(
            Output::open(&target, &original, 0..original.size),
            Err(ExportError::Busy(_))
        ));
        drop(second);
        original.broken.store(900_000, Ordering::Relaxed);
        let (mut output, _) = open();
        let copied = copy(&original, &mut output, original.size, HOW, &Watch::default());
        let gone = matches!(copied, Err(ExportError::Image { cause: ImageError::Abandoned, .. }));
        assert!(gone && output.done == 900_000, "{copied:?}, {}", output.done);
        drop(output);
        original.broken.store(u64::MAX, Ordering::Relaxed);
        let (mut output, start) = open();
        assert_eq!(start, Start::Resumed(900_000));
        copy(&original, &mut output, original.size, HOW, &Watch::default()).expect("copies");
        output.verify(&Watch::default()).expect("as written");
        output.finish().expect("renames");
        let written = std::fs::read(&target.path).expect("there");
        assert!(written == (0..original.size).map(byte).collect::<Vec<_>>());
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1);
        let again = Output::open(&target, &original, 0..original.size);
        assert!(matches!(again, Err(ExportError::Exists(_))));
    }

    #[test]
    fn a_changed_image_begins_again_and_a_changed_byte_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = Target { path: folder.path().join("out"), force: true, part: None };
        let one = formula(500_000);
        let (mut output, start) = Output::open(&target, &one, 0..one.size).expect("opens");
        assert_eq!(start, Start::New);
        copy(&one, &mut output, 300_000, HOW, &Watch::default()).expect("copies");
        assert_eq!(output.missing(), 300_000..500_000);
        drop(output);
        let two = Formula { identity: "two", ..formula(500_000) };
        let (mut output, start) = Output::open(&target, &two, 0..two.size).expect("opens");
        assert_eq!((start, output.done), (Start::Again, 0));
        copy(&two, &mut output, two.size, HOW, &Watch::default()).expect("copies");
        write_sparse(&output.file, 222_222, b"!").expect("writable");
        match output.verify(&Watch::default()) {
            Err(ExportError::Differs { range, .. }) => assert_eq!(range, 222_000..223_000),
            other => panic!("{other:?}"),
        }
        drop(output);
        let (mut output, start) = Output::open(&target, &two, 0..two.size).expect("opens");
        assert_eq!(start, Start::Resumed(222_000));
        copy(&two, &mut output, two.size, HOW, &Watch::default()).expect("copies");
        output.verify(&Watch::default()).expect("mended");
    }
}
