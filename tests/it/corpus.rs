//! Every store of the corpus through a real kernel mount and libhdf5, compared with the manifest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::check::{check_damage, check_image};
use crate::common::corpus::{Corpus, text};
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount, is_mounted};
use crate::common::process::plain_user;
use crate::common::{files, list_json, skipped};
use serde_json::Value;
use tempfile::TempDir;

/// Most memory of the daemon after everything was read, at its default budget.
const MEMORY_LIMIT_KIB: u64 = 256 << 10;

/// Images that are also copied and looked at without the mount.
const COPIED: [&str; 6] = [
    "acquire_v3_sharded",
    "omezarr_v04_t5c3",
    "omezarr_v05_czyx_f32",
    "omezarr_v01",
    "ts_v2_be_forder",
    "wild_galaxy_bool_v05",
];

/// Store, image, number of the multiscale.
type Key = (String, String, u64);

/// What `--list --json` says.
struct Listing {
    files: BTreeMap<Key, String>,
    skipped: Vec<(String, String)>,
}

impl Listing {
    fn new(rows: &[Value]) -> Self {
        let mut listing = Self { files: BTreeMap::new(), skipped: Vec::new() };
        for row in rows {
            if row.get("file").is_some() {
                let multiscale = row["multiscale"].as_u64().expect("a number");
                let key =
                    (text(row, "store").to_owned(), text(row, "image").to_owned(), multiscale);
                let file = text(row, "file").to_owned();
                if let Some(other) = listing.files.insert(key.clone(), file) {
                    panic!("{key:?} is listed twice: {other}");
                }
            } else {
                let row = (text(row, "skipped").to_owned(), text(row, "reason").to_owned());
                listing.skipped.push(row);
            }
        }
        listing
    }

    /// The reasons for a path or anything below it.
    fn reasons(&self, path: &str) -> impl Iterator<Item = &str> {
        let below = format!("{path}/");
        let own = move |row: &&(String, String)| row.0 == path || row.0.starts_with(&below);
        self.skipped.iter().filter(own).map(|(_, reason)| reason.as_str())
    }
}

/// The manifest's key of an image.
fn key_of(store: &Value, image: &Value) -> Key {
    let group = if text(image, "source") == "array" {
        text(&image["levels"][0], "path")
    } else {
        text(image, "path")
    };
    let multiscale = image["multiscale_index"].as_u64().unwrap_or(0);
    (text(store, "path").to_owned(), group.to_owned(), multiscale)
}

/// What the manifest says of an image, with the size that its WEBKNOSSOS dataset publishes: the manifest has
/// that of the padded arrays.
fn published(store: &Path, image: &Value) -> Value {
    let mut image = image.clone();
    let Ok(bytes) = fs::read(store.join("datasource-properties.json")) else { return image };
    let dataset: Value = serde_json::from_slice(&bytes).expect("JSON");
    let layers = dataset["dataLayers"].as_array().expect("layers");
    let layer = layers.iter().find(|layer| layer["name"] == image["path"]).expect("the layer");
    for (axis, name) in [("X", "width"), ("Y", "height"), ("Z", "depth")] {
        image[axis] = layer["boundingBox"][name].clone();
    }
    image
}

fn title(store: &Value, key: &Key) -> String {
    format!("{}:{}#{}", text(store, "id"), key.1, key.2)
}

/// Why an image may be missing from the list: the words that the reason must hold.
fn excuse(image: &Value) -> Option<Vec<String>> {
    if image["optional"] == true {
        return Some(vec!["label".to_owned()]);
    }
    None
}

/// Finds a file whose name the JSON list could only tell with replacement characters.
fn find_file(mount: &Path, file: &str) -> PathBuf {
    if !file.contains('\u{fffd}') {
        return mount.join(file);
    }
    let mut path = mount.to_path_buf();
    for part in Path::new(file) {
        let names = fs::read_dir(&path).expect("a folder of the mount");
        let mut names = names.map(|entry| entry.expect("a name").file_name());
        let name = names.find(|name| name.to_string_lossy() == part.to_string_lossy());
        path.push(name.unwrap_or_else(|| panic!("{file} is listed and not in {}", path.display())));
    }
    path
}

/// Opens a file; libhdf5 is given names that are UTF-8 only.
fn open(path: &Path, scratch: &Path) -> Result<Ims, String> {
    let plain = scratch.join("plain.ims");
    let path = if path.to_str().is_some() {
        path
    } else {
        fs::copy(path, &plain).map_err(|error| error.to_string())?;
        &plain
    };
    Ims::open(path).map_err(|error| error.to_string())
}

/// Compares every good image; what is wrong goes into `failures`. Returns the number of images right.
fn check_good(
    corpus: &Corpus,
    listing: &Listing,
    mount: &Path,
    failures: &mut Vec<String>,
) -> usize {
    let root = corpus.root();
    let mut right = 0;
    for store in corpus.stores() {
        let path = text(store, "path");
        let images = store["images"].as_array().expect("images");
        if images.is_empty() && listing.files.keys().any(|key| key.0 == path) {
            failures.push(format!("{}: lists an image, none is there", text(store, "id")));
        }
        for image in images {
            let key = key_of(store, image);
            let title = title(store, &key);
            let Some(file) = listing.files.get(&key) else {
                let place =
                    if key.1.is_empty() { path.to_owned() } else { format!("{path}/{}", key.1) };
                let (place, words) = match excuse(image) {
                    // A store is skipped as a whole, a label by its own path.
                    Some(words) if image["optional"] == true => (place, words),
                    Some(words) => (path.to_owned(), words),
                    None => {
                        failures.push(format!("{title}: not listed"));
                        continue;
                    }
                };
                let reasons: Vec<&str> = listing.reasons(&place).collect();
                for word in words {
                    if !reasons.iter().any(|reason| reason.contains(&word)) {
                        failures.push(format!(
                            "{title}: not listed, no reason says {word:?}: {reasons:?}"
                        ));
                    }
                }
                continue;
            };
            let mut notes = Vec::new();
            let image = &published(&root.join(path), image);
            let faults = match Ims::open(&mount.join(file)) {
                Ok(ims) => check_image(&ims, root, store, image, &mut notes),
                Err(error) => vec![error.to_string()],
            };
            for note in &notes {
                println!("note {title}: {note}");
            }
            right += usize::from(faults.is_empty());
            failures.extend(faults.into_iter().map(|fault| format!("{title}: {fault}")));
        }
    }
    right
}

/// Compares every damaged store with the outcome it must have. Returns the number of stores right.
fn check_bad(
    corpus: &Corpus,
    listing: &Listing,
    mount: &Path,
    failures: &mut Vec<String>,
) -> usize {
    let scratch = TempDir::new().expect("a temporary folder");
    let mut right = 0;
    for bad in corpus.bad() {
        let (id, outcome) = (text(bad, "id"), text(bad, "outcome"));
        let path = Corpus::path_of_bad(bad);
        assert!(fs::symlink_metadata(corpus.root().join(&path)).is_ok(), "{id} was not set up");
        let path = path.to_string_lossy();
        let related = |store: &str| {
            store == path
                || store.starts_with(&format!("{path}/"))
                || path.starts_with(&format!("{store}/"))
        };
        let listed: Vec<&String> =
            listing.files.iter().filter(|(key, _)| related(&key.0)).map(|(_, file)| file).collect();
        let reasons: Vec<&str> = listing.reasons(&path).collect();
        let mut faults = Vec::new();
        match (outcome, listed.len()) {
            ("skip", 0) if reasons.is_empty() => {
                faults.push("skipped without a reason that names it".to_owned());
            }
            ("skip", 0) | ("list_once", 1) => {}
            ("skip", _) => faults.push(format!("listed as {listed:?}, must be skipped")),
            ("list_once", n) => faults.push(format!("listed {n} times")),
            ("list_eio" | "list_eio_or_fill", 0) => {
                faults.push(format!("not listed; reasons: {reasons:?}"));
            }
            ("degrade_or_skip" | "list_or_skip" | "skip_or_eio", 0) if reasons.is_empty() => {
                faults.push("neither listed nor skipped with a reason that names it".to_owned());
            }
            (
                "list_eio" | "list_eio_or_fill" | "degrade_or_skip" | "list_or_skip"
                | "skip_or_eio",
                _,
            ) => {}
            (other, _) => faults.push(format!("outcome {other} is not known to this test")),
        }
        for file in listed {
            match open(&find_file(mount, file), scratch.path()) {
                Ok(ims) => faults.extend(check_damage(&ims, bad)),
                Err(error) => faults.push(format!("{file} does not open: {error}")),
            }
        }
        right += usize::from(faults.is_empty());
        failures.extend(faults.into_iter().map(|fault| format!("bad/{id} ({outcome}): {fault}")));
    }
    right
}

/// The names below a folder, with their sizes; links are not expected and not followed.
fn names_below(folder: &Path, inside: &Path, found: &mut BTreeMap<String, u64>) {
    for entry in fs::read_dir(folder.join(inside)).expect("a folder of the mount") {
        let entry = entry.expect("a name");
        let path = inside.join(entry.file_name());
        let metadata = entry.metadata().expect("attributes");
        if metadata.is_dir() {
            names_below(folder, &path, found);
        } else {
            found.insert(path.to_string_lossy().into_owned(), metadata.len());
        }
    }
}

#[test]
fn every_store_of_the_corpus_gives_what_the_manifest_says() {
    let corpus = match Corpus::unpack() {
        Ok(corpus) => corpus,
        Err(reason) => return skipped(&reason),
    };
    if !can_mount() {
        return;
    }
    let rows = list_json(corpus.root(), plain_user());
    let again = list_json(corpus.root(), plain_user());
    assert_eq!(rows, again, "two runs of --list differ");
    let listing = Listing::new(&rows);

    let mount = Mount::of(corpus.root()).wrapper(plain_user()).start();
    let mut failures = Vec::new();
    let good = check_good(&corpus, &listing, mount.path(), &mut failures);
    let bad = check_bad(&corpus, &listing, mount.path(), &mut failures);
    println!("{good} images and {bad} damaged stores are right");

    // The tree holds what the list says, and nothing else.
    let mut found = BTreeMap::new();
    names_below(mount.path(), Path::new(""), &mut found);
    let sizes = rows.iter().filter(|row| row.get("file").is_some());
    let listed: BTreeMap<String, u64> = sizes
        .map(|row| (text(row, "file").to_owned(), row["size"].as_u64().expect("a size")))
        .collect();
    if found != listed {
        failures.push(format!("the tree differs from the list: {found:?} {listed:?}"));
    }
    let copies = TempDir::new().expect("a temporary folder");
    let mut copied = Vec::new();
    for store in corpus.stores().iter().filter(|store| COPIED.contains(&text(store, "id"))) {
        for image in store["images"].as_array().expect("images") {
            let key = key_of(store, image);
            let Some(file) = listing.files.get(&key) else { continue };
            let to = copies.path().join(format!("{}.ims", copied.len()));
            let status = Command::new("cp").arg(mount.path().join(file)).arg(&to).status();
            assert!(status.expect("cp is installed").success(), "cp {file}");
            copied.push((to, store, image, title(store, &key)));
        }
    }
    assert!(copied.len() >= 5, "only {} of the images to copy are listed", copied.len());

    let peak = mount.peak_memory_kib();
    println!("the daemon used {peak} KiB at most");
    if peak > MEMORY_LIMIT_KIB {
        failures.push(format!("the daemon used {peak} KiB"));
    }
    let mountpoint = mount.path().to_path_buf();
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert!(!is_mounted(&mountpoint), "still mounted");
    let panics = stderr.iter().filter(|line| line.contains("panicked"));
    failures.extend(panics.map(|line| format!("log: {line}")));
    // A name in the log for everything that is skipped; that of the store where it is one of several.
    for (path, _) in listing.skipped.iter().filter(|(path, _)| !path.contains('\u{fffd}')) {
        let above: Vec<String> =
            Path::new(path).ancestors().map(|above| format!("path={}", above.display())).collect();
        let is_told = |line: &String| {
            line.contains(path)
                || (line.contains("--list -v") && above.iter().any(|above| line.contains(above)))
        };
        if !stderr.iter().any(is_told) {
            failures.push(format!("{path} is skipped without a log line"));
        }
    }

    for (path, store, image, title) in copied {
        let faults = match Ims::open(&path) {
            Ok(ims) => check_image(&ims, corpus.root(), store, image, &mut Vec::new()),
            Err(error) => vec![error.to_string()],
        };
        failures.extend(faults.into_iter().map(|fault| format!("copy of {title}: {fault}")));
    }
    assert!(!files(&rows).is_empty(), "nothing is listed");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The check itself must notice: a byte changed in a copy of a virtual file is a failure.
#[test]
fn a_changed_pixel_and_a_changed_name_are_noticed() {
    let corpus = match Corpus::unpack() {
        Ok(corpus) => corpus,
        Err(reason) => return skipped(&reason),
    };
    if !can_mount() {
        return;
    }
    let id = "omezarr_v04_t5c3";
    let store = corpus.stores().iter().find(|store| text(store, "id") == id).expect(id);
    let source = corpus.root().join(text(store, "path"));
    let listing = Listing::new(&list_json(source.parent().expect("a folder"), plain_user()));
    let name = source.file_name().expect("a name").to_string_lossy().into_owned();
    let file = &listing.files[&(name, String::new(), 0)];
    let mount = Mount::of(source.parent().expect("a folder")).wrapper(plain_user()).start();
    let mut bytes = fs::read(mount.path().join(file)).expect("a virtual file");
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");

    let scratch = TempDir::new().expect("a temporary folder");
    let path = scratch.path().join("copy.ims");
    let image = &store["images"][0];
    let faults = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("a file");
        let ims = Ims::open(&path).expect("still HDF5");
        check_image(&ims, corpus.root(), store, image, &mut Vec::new())
    };
    assert_eq!(faults(&bytes), Vec::<String>::new());
    // The tail pad is no part of any image, the bytes before it are the last channel of level 0.
    let pixel = bytes.iter().rposition(|&byte| byte != 0).expect("not all zero");
    bytes[pixel] ^= 1;
    assert!(faults(&bytes).iter().any(|fault| fault.contains("pixels differ")));
    bytes[pixel] ^= 1;
    // The name of a channel is text in an attribute.
    let name = text(&image["channels"][0], "name").as_bytes();
    let at = bytes.windows(name.len()).position(|part| part == name).expect("the name is stored");
    bytes[at] ^= 1;
    assert!(faults(&bytes).iter().any(|fault| fault.contains("channel 0 name")));
}
