use std::fs;
use std::sync::atomic::AtomicUsize;

use tempfile::TempDir;

use super::super::memory::Memory;
use super::super::posix::Posix;
use super::directory::Method;
use super::zip::{zip, zip_by};
use super::*;

/// A storage that counts what is asked of it.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn Storage>,
    calls: AtomicUsize,
    /// As of another machine; reads of files are counted, too, and bytes.
    is_remote: bool,
    reads: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

/// An open file of it, which counts the bytes.
#[derive(Debug)]
struct CountedFile {
    inner: Arc<dyn OpenFile>,
    reads: Arc<AtomicUsize>,
    bytes: Arc<AtomicUsize>,
}

impl Counted {
    fn over(inner: Arc<dyn Storage>) -> Arc<Self> {
        Self::of(inner, false)
    }

    fn of(inner: Arc<dyn Storage>, is_remote: bool) -> Arc<Self> {
        let (reads, bytes) = Default::default();
        Arc::new(Self { inner, calls: AtomicUsize::new(0), is_remote, reads, bytes })
    }

    fn count(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }
}

impl Storage for Counted {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        self.count();
        let (file, stamp) = self.inner.open(path)?;
        let (reads, bytes) = (self.reads.clone(), self.bytes.clone());
        Ok((Box::new(CountedFile { inner: file.into(), reads, bytes }), stamp))
    }

    fn is_remote(&self) -> bool {
        self.is_remote
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        self.count();
        self.inner.stat(path, links)
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        self.count();
        self.inner.open_folder(path)
    }
}

impl OpenFile for CountedFile {
    fn stamp(&self) -> io::Result<Stamp> {
        self.inner.stamp()
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(out.len(), Ordering::Relaxed);
        self.inner.read_exact_at(out, offset)
    }
}

fn in_memory(name: &str, bytes: &[u8]) -> (Arc<Memory>, Archives) {
    let files = Arc::new(Memory::default());
    files.put(name, bytes);
    (files.clone(), Archives::over(files))
}

fn read(archives: &Archives, path: &str) -> io::Result<Vec<u8>> {
    let (file, stamp) = archives.open(Path::new(path))?;
    let mut bytes = vec![0; usize::try_from(stamp.size()).expect("small")];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[track_caller]
fn reason(archives: &Archives, path: &str) -> String {
    read(archives, path).expect_err("cannot be read").to_string()
}

#[test]
fn a_path_below_a_zip_file_leads_into_it_and_no_other_path_does() {
    let bytes = zip([("a/zarr.json", "1"), ("a/b/c", "22")], true);
    let (files, archives) = in_memory("data/x.zip", &bytes);
    files.put("data/plain.txt", b"text");
    files.put("data/y.zip/real", b"a folder with such a name");
    assert_eq!(read(&archives, "data/x.zip/a/b/c").expect("a member"), b"22");
    assert_eq!(read(&archives, "data/y.zip/real").expect("a file").len(), 25);
    assert_eq!(read(&archives, "data/x.zip").expect("the archive itself"), bytes);
    let stat = |path: &str| archives.stat(Path::new(path), Links::Follow);
    let kind = |path: &str| stat(path).map(|meta| meta.kind).map_err(|error| error.kind());
    assert_eq!(kind("data/x.zip"), Ok(FileKind::File));
    assert_eq!(kind("data/x.zip/a/b"), Ok(FileKind::Folder));
    assert_eq!(kind("data/x.zip/a/x"), Err(io::ErrorKind::NotFound));
    assert_eq!(kind("data/x.zip/a/b/c/d"), Err(io::ErrorKind::NotADirectory));
    assert!(kind("data/plain.txt/a").is_err());
    let folder = archives.open_folder(Path::new("data/x.zip")).expect("also a folder");
    assert_eq!(folder.meta().expect("a state"), stat("data/x.zip").expect("the same"));
    assert!(archives.holds_zarr(Path::new("data/x.zip")).expect("readable"));
    assert!(!archives.holds_zarr(Path::new("data/plain.txt")).expect("readable"));
}

#[test]
fn any_file_may_be_an_archive_where_the_storage_says_that_a_path_leads_below_a_file() {
    let top = TempDir::with_prefix("zarrims-archive-").expect("a temporary folder");
    fs::write(top.path().join("image"), zip([("zarr.json", "1")], false)).expect("a file");
    fs::write(top.path().join("text"), "PK is no zip").expect("a file");
    let posix = Posix::open(top.path(), false).expect("a folder");
    let archives = Archives::over(Arc::new(posix));
    assert_eq!(read(&archives, "image/zarr.json").expect("a member"), b"1");
    let below_text = archives.stat(Path::new("text/zarr.json"), Links::Follow);
    assert_eq!(below_text.map_err(|error| error.kind()), Err(io::ErrorKind::NotADirectory));
    let access = archives.access(Path::new("image")).expect("the file itself").access;
    assert!(access.is_some(), "who may read the file may read its members");
    // A folder in the place of an archive is a folder.
    fs::remove_file(top.path().join("image")).expect("removed");
    fs::create_dir(top.path().join("image")).expect("a folder");
    fs::write(top.path().join("image/zarr.json"), "22").expect("a file");
    assert_eq!(read(&archives, "image/zarr.json").expect("a file"), b"22");
    fs::remove_dir_all(top.path().join("image")).expect("removed");
    let gone = archives.open(Path::new("image/zarr.json")).map(|_| ());
    assert_eq!(gone.map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
}

#[test]
fn a_damaged_member_is_an_error_for_itself_alone() {
    let text = b"some text, some text, some text";
    for deflate in [false, true] {
        let mut bytes = zip([("a", text), ("b", text)], deflate);
        let name_at = bytes.windows(1).position(|part| part == b"b").expect("a name");
        bytes[name_at + 4] ^= 0x10;
        let (_, archives) = in_memory("x.zip", &bytes);
        assert_eq!(read(&archives, "x.zip/a").expect("not damaged"), text);
        assert!(reason(&archives, "x.zip/b").starts_with("damaged zip member"), "{deflate}");
        // Nor is a part of it given, if it has to be decoded whole for that.
        let (file, _) = archives.open(Path::new("x.zip/b")).expect("its header is there");
        assert_eq!(file.read_exact_at(&mut [0; 4], 8).is_err(), deflate);
    }
}

#[test]
fn members_that_are_not_decoded_say_why() {
    let members =
        [("a", "1", Method::Stored), ("b", "2", Method::Encrypted), ("c", "3", Method::Other(93))];
    let (_, archives) = in_memory("x.ozx", &zip_by(members));
    assert_eq!(read(&archives, "x.ozx/a").expect("stored"), b"1");
    assert!(reason(&archives, "x.ozx/b").contains("encrypted"));
    assert!(reason(&archives, "x.ozx/c").contains("method 93"));
}

#[test]
fn members_without_a_usable_name_are_told() {
    let zarr = ("zarr.json", "1");
    let left_out = |names: &[&'static [u8]]| {
        let members = names.iter().map(|name| (*name, "2")).chain([(zarr.0.as_bytes(), zarr.1)]);
        let (_, archives) = in_memory("x.zip", &zip(members, false));
        assert_eq!(read(&archives, "x.zip/zarr.json").expect("the others are there"), b"1");
        archives.left_out(Path::new("x.zip"))
    };
    assert_eq!(left_out(&[b"a/b"]), None);
    let one = left_out(&[b"../up"]).expect("told");
    assert!(one.starts_with("member \"../up\" left out"), "{one}");
    let many = left_out(&[b"/etc/passwd", b"a\\b", b"c\0d"]).expect("told");
    assert!(many.starts_with("3 members left out, \"/etc/passwd\" the first"), "{many}");
}

#[test]
fn thousands_of_members_cost_no_scan_per_read() {
    let members: Vec<(String, String)> =
        (0..20_000).map(|number| (format!("0/c/{number}"), number.to_string())).collect();
    let files = Arc::new(Memory::default());
    files.put("x.zip", &zip(members.iter().map(|(name, bytes)| (name, bytes)), false));
    let counted = Counted::over(files);
    let archives = Archives::over(counted.clone());
    assert_eq!(read(&archives, "x.zip/0/c/0").expect("a member"), b"0");
    counted.take();
    for (name, bytes) in members.iter().step_by(97) {
        assert_eq!(read(&archives, &format!("x.zip/{name}")).expect("a member"), bytes.as_bytes());
        assert_eq!(counted.take(), 1, "the archive is opened");
        archives.stat(&Path::new("x.zip").join(name), Links::Follow).expect("a member");
        assert_eq!(counted.take(), 1, "the archive is looked at");
    }
    let mut found = 0;
    let mut budget = Budget::of_entries(20_000);
    let surveyed = archives.survey(Path::new("x.zip/0"), &mut budget, &mut |_, _| found += 1);
    assert_eq!((surveyed, found, counted.take()), (Some(Ok(())), 20_000, 1));
    // Few bytes each, and read again when forgotten.
    let bytes = archives.look(Path::new("x.zip")).expect("readable").expect("zip").directory;
    assert!(bytes.memory_bytes() < 20_000 * 40, "{}", bytes.memory_bytes());
    DIRECTORIES.forget(&(archives.number, PathBuf::from("x.zip")));
    assert_eq!(read(&archives, "x.zip/0/c/1").expect("a member"), b"1");
}

#[test]
fn a_member_on_another_machine_costs_one_request() {
    for deflate in [false, true] {
        let text = |number: usize| format!("{number} ").repeat(4000).into_bytes();
        let members: Vec<(String, Vec<u8>)> =
            (0..300).map(|number| (format!("0/c/{number}"), text(number))).collect();
        let files = Arc::new(Memory::default());
        let packed = zip(members.iter().map(|(name, bytes)| (name, bytes)), deflate);
        files.put("x.zip", &packed);
        let remote = Counted::of(files.clone(), true);
        let archives = Archives::over(remote.clone());
        let requests = || remote.reads.swap(0, Ordering::Relaxed);
        assert_eq!(read(&archives, "x.zip/0/c/7").expect("a member"), text(7));
        assert!(requests() <= 4, "the end, the start and a member");
        remote.bytes.store(0, Ordering::Relaxed);
        for (name, bytes) in &members {
            assert_eq!(read(&archives, &format!("x.zip/{name}")).expect("a member"), *bytes);
            assert_eq!(requests(), 1, "{name}");
        }
        let fetched = remote.bytes.load(Ordering::Relaxed);
        assert!(fetched < packed.len() * 3 / 2, "{fetched} of {} bytes", packed.len());
        // Of a shard, the header once, and then each part.
        let shard = || archives.open_parts(Path::new("x.zip/0/c/299"), Index::AtEnd(4));
        for wanted in [2, 1] {
            let (file, stamp) = shard().expect("a member");
            let mut end = [0; 4];
            file.read_exact_at(&mut end, stamp.size() - 4).expect("its end");
            assert_eq!(end, *b"299 ");
            assert!(deflate || requests() == wanted);
        }
        let (file, _) = shard().expect("a member");
        let parts = file.read_ranges(&[0..3, 4..7]).expect("in the member");
        assert_eq!(parts, [b"299".to_vec(), b"299".to_vec()]);
        assert!(file.read_ranges(&[0..3, 4..1 << 40]).is_err());
        // Another archive in its place is another one.
        files.put("x.zip", &zip([("0/c/7", "new")], deflate));
        assert_eq!(read(&archives, "x.zip/0/c/7").expect("a member"), b"new");
        assert!(read(&archives, "x.zip/0/c/8").is_err());
    }
}

#[test]
fn ordinary_files_are_looked_into_once() {
    let files = Arc::new(Memory::default());
    files.put("a.tif", &[b'I'; 100]);
    files.put("b.zip", &zip([("report.txt", "1")], true));
    files.put("c.zip", b"PK\x03\x04 cut off");
    let counted = Counted::over(files);
    let archives = Archives::over(counted.clone());
    let look = || {
        ["a.tif", "b.zip", "c.zip"]
            .map(|path| archives.holds_zarr(Path::new(path)).map_err(|error| error.kind()))
    };
    let wanted = [Ok(false), Ok(false), Err(io::ErrorKind::InvalidData)];
    assert_eq!(look(), wanted);
    counted.take();
    assert_eq!((look(), counted.take()), (wanted, 3), "only their states are looked at");
}

#[test]
fn a_part_of_a_deflated_member_is_read_without_decoding_all_of_it_again() {
    let shard: Vec<u8> = (0..8_000_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
    let (_, archives) = in_memory("x.zip", &zip([("shard", &shard)], true));
    let (file, _) = archives.open(Path::new("x.zip/shard")).expect("a member");
    let mut out = [0; 4096];
    file.read_exact_at(&mut out, shard.len() as u64 - 4096).expect("the end");
    assert_eq!(out[..], shard[shard.len() - 4096..]);
    // The archive as the member sees it, with a count of the bytes that are read of it.
    let bytes = Arc::new(AtomicUsize::new(0));
    let archive = archives.open_archive(Path::new("x.zip")).expect("readable").expect("a zip");
    let Some(Found::File(member)) = archive.directory.find(b"shard") else { panic!("no member") };
    let file =
        Arc::new(CountedFile { inner: archive.file, reads: Arc::default(), bytes: bytes.clone() });
    let key = (archives.number, PathBuf::from("x.zip"), archive.stamp);
    let file = OpenMember::open(file, member, key, true).expect("a member");
    for offset in [0, 31_000_000, 9_999_999, 16 << 20] {
        bytes.store(0, Ordering::Relaxed);
        file.read_exact_at(&mut out, offset).expect("in the member");
        let at = usize::try_from(offset).expect("small");
        assert_eq!(out[..], shard[at..at + 4096]);
        let read = bytes.load(Ordering::Relaxed) as u64;
        assert!(read < member.packed / 8, "{read} of {} bytes for one part", member.packed);
    }
}

mod zip64;
