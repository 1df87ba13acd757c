//! Saves now and then, and at the end, what a later start wants to know.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use zarrims::fs::Save;

const INTERVAL: Duration = Duration::from_secs(20);

/// How long the end of the daemon waits for a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(3);

/// A thread that saves until [`Housekeeper::finish`].
#[derive(Debug)]
pub(crate) struct Housekeeper {
    /// Dropping it ends the thread.
    end: mpsc::Sender<()>,
    /// Closed once the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Housekeeper {
    /// # Errors
    /// The operating system's reason when the thread cannot be started.
    pub(crate) fn start(save: impl FnMut(Save) + Send + 'static) -> io::Result<Self> {
        Self::start_every(INTERVAL, save)
    }

    fn start_every(
        interval: Duration,
        mut save: impl FnMut(Save) + Send + 'static,
    ) -> io::Result<Self> {
        let (end, asked) = mpsc::channel::<()>();
        let (done, ended) = mpsc::channel();
        let task = move || {
            let _done: mpsc::Sender<()> = done;
            while asked.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                save(Save::IfDue);
            }
            save(Save::Now);
        };
        thread::Builder::new().name("housekeeper".to_owned()).spawn(task)?;
        Ok(Self { end, ended })
    }

    /// Has all save once more, at the same time, and ends their threads.
    pub(crate) fn finish(all: impl IntoIterator<Item = Self>) {
        let asked = all.into_iter().map(|Self { end, ended }| {
            drop(end);
            ended
        });
        let asked: Vec<_> = asked.collect();
        let until = Instant::now() + PATIENCE;
        for ended in asked {
            let left = until.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(
                    "the cache disk does not answer; the daemon ends without saving the memo"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_saves_when_due_until_the_end_and_then_once_more() {
        let (told, saved) = mpsc::channel();
        let save = move |when| told.send(when).expect("the test is listening");
        let housekeeper = Housekeeper::start_every(Duration::from_millis(1), save);
        for _ in 0..3 {
            assert_eq!(saved.recv(), Ok(Save::IfDue));
        }
        Housekeeper::finish([housekeeper.expect("a thread")]);
        assert_eq!(saved.iter().last(), Some(Save::Now));
    }
}
