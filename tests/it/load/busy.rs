//! Readers that are killed, and a mount that is taken away while it is read.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::Signal;
use tempfile::TempDir;
use zarrims::image::{ImageOptions, Pyramid, VirtualFile};

use super::SOON;
use crate::common::eventually;
use crate::common::library::Library;
use crate::common::linked::Linked;
use crate::common::mount::{Mount, can_mount, is_mounted, summary, unmount};
use crate::common::picks::Picks;

/// Four times the cache: reading it from front to back never hits.
const IMAGE: Linked = Linked { image: [1, 64, 1024, 2048], chunk: [1, 32, 64, 64] };
const CACHE: &str = "64MiB";

/// Readers that are killed.
const KILLS: u64 = 20;

/// Reads that are compared.
const READS: usize = 200;

/// Attempts to unmount what is in use.
const ATTEMPTS: usize = 10;

/// A mount of one large image, and an engine that knows its bytes.
struct Large {
    mount: Mount,
    path: PathBuf,
    truth: Arc<VirtualFile>,
    _library: Library,
    _folder: TempDir,
}

impl Large {
    fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-busy-").expect("a temporary folder");
        let source = folder.path().join("source");
        IMAGE.write_chunks(&folder.path().join("chunks"));
        IMAGE.write(&source.join("large.zarr"), &folder.path().join("chunks"));
        let images = ImageOptions { pyramid: Pyramid::Source, ..ImageOptions::default() };
        let library = Library::of(&source, images);
        let truth = library.file("large.zarr");
        let args = ["--pyramid", "source", "--cache-size", CACHE];
        let mount = Mount::of(&source).args(args).start();
        let path = mount.path().join("large.ims");
        Self { mount, path, truth, _library: library, _folder: folder }
    }

    /// Opened so that every read asks the daemon.
    fn open(&self) -> File {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECT).open(&self.path).expect("opens")
    }

    /// Compares a part of the file.
    fn compare(&self, file: &File, picks: &mut Picks) {
        let start = picks.below(self.truth.size());
        let left = usize::try_from(self.truth.size() - start).expect("64 bits");
        let len = left.min(1 + picks.index(256 << 10));
        let mut got = vec![0; len];
        file.read_exact_at(&mut got, start).expect("a read");
        let expected = self.truth.read_blocking(start, len).expect("readable");
        assert!(got == expected, "{len} wrong bytes from {start} on");
    }
}

/// A program that reads a file from front to back; killed when dropped.
struct Reader(Child);

impl Reader {
    fn start(path: &Path) -> Self {
        let mut input = std::ffi::OsString::from("if=");
        input.push(path);
        let mut dd = Command::new("dd");
        dd.arg(input).args(["of=/dev/null", "bs=4M"]).stdin(Stdio::null()).stderr(Stdio::null());
        Self(dd.spawn().expect("dd starts"))
    }

    /// Bytes that the program has read, as far as it can be told.
    fn has_read(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.0.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("an own child").is_some()
    }

    fn kill(&mut self) -> ExitStatus {
        self.0.kill().expect("an own child");
        self.0.wait().expect("an own child")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Nothing can be done about a child that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Issue: "a reader killed mid-read".
#[test]
fn readers_may_be_killed_in_the_middle_of_a_read() {
    if !can_mount() {
        return;
    }
    let mut picks = Picks::of_test("killed readers");
    let large = Large::new();
    let mut hit = 0;
    for _ in 0..KILLS {
        let mut reader = Reader::start(&large.path);
        let enough = picks.below(IMAGE.bytes() / 4);
        eventually("a reader reads", SOON, || reader.has_ended() || reader.has_read() >= enough);
        let killed = reader.kill().signal() == Some(Signal::KILL.as_raw());
        hit += u64::from(killed);
    }
    println!("{hit} of {KILLS} readers killed");
    assert!(hit >= KILLS / 2, "only {hit} of {KILLS} readers were still reading");
    let file = large.open();
    for _ in 0..READS {
        large.compare(&file, &mut picks);
    }
    drop(file);
    let (status, stderr) = large.mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert_eq!(summary(&stderr, "failed"), 0);
    let held = stderr.iter().any(|line| line.contains("still open"));
    assert!(!held, "files of the dead are open: {stderr:#?}");
}

/// Tries to unmount; returns whether the kernel refuses because the mount is busy.
fn is_refused(at: &Path) -> bool {
    let output = Command::new("fusermount3").arg("-u").arg(at).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    let busy = !output.status.success() && text.contains("busy");
    // Only root may do it without the helper.
    let plain = rustix::mount::unmount(at, UnmountFlags::empty());
    busy && matches!(plain, Err(Errno::BUSY | Errno::PERM))
}

/// Issue: "unmount while busy".
#[test]
fn a_mount_in_use_is_unmounted_only_by_force_and_then_read_on() {
    if !can_mount() {
        return;
    }
    let mut picks = Picks::of_test("busy");
    let large = Large::new();
    let at = large.mount.path().to_path_buf();
    let files = [large.open(), large.open(), large.open()];
    let over = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let enough = |more: u64| {
        let goal = done.load(Ordering::SeqCst) + more;
        eventually("reads go on", SOON, || done.load(Ordering::SeqCst) >= goal);
    };
    thread::scope(|scope| {
        let _over = Over(&over);
        for file in files {
            let mut picks = picks.fork();
            let (large, over, done) = (&large, &over, &done);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    large.compare(&file, &mut picks);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..ATTEMPTS {
            assert!(is_refused(&at), "unmounted while it is read");
            enough(1);
        }
        assert!(is_mounted(&at));
        assert!(unmount(&["fusermount3", "-u", "-z"], &at), "not even lazily");
        assert!(!is_mounted(&at));
        enough(20);
        assert!(large.mount.is_running(), "ended while it is read");
    });
    let (status, stderr) = large.mount.wait();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert_eq!(summary(&stderr, "failed"), 0);
}

/// Ends the readers at the end, however it comes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
