//! The configuration file: mistakes, each with its line and status; `--print-config`; `--list`.

use std::fs;

use serde_json::Value;

use super::rig::{Folders, refused};
use crate::common::command;

/// Files that are wrong, and what the program says. `@` stands for the temporary folder.
const MISTAKES: &[(&str, &str)] = &[
    // Syntax.
    ("[cache\nsize = 1", "@f.toml:1: unclosed table, expected `]`"),
    ("[cache]\nsize = 1GiB\n", "@f.toml:2: "),
    ("[cache]\nsize = \"1GiB\"\nsize = \"2GiB\"\n", "@f.toml:3: duplicate key"),
    // Keys.
    ("[cahce]\nsize = \"1GiB\"\n", "@f.toml:1: [cahce]: no such table; similar: [cache]"),
    ("\n[cache]\nsise = \"1GiB\"\n", "@f.toml:3: sise: no such key in [cache]; similar: size"),
    (
        "[[mount]]\nsource = \"/a\"\nmountpoint = \"/b\"\npyramide = \"auto\"\n",
        "@f.toml:4: pyramide: no such key in [[mount]]; similar: pyramid",
    ),
    (
        "[defaults]\nmounpoint = \"/a\"\n",
        "@f.toml:2: mounpoint: no such key in [defaults]; similar: endpoint",
    ),
    // One cache for all mounts.
    (
        "[[mount]]\nsource = \"/a\"\nmountpoint = \"/b\"\ncache-dir = \"/c\"\n",
        "@f.toml:4: cache-dir: no such key in [[mount]]; it is dir in [cache]",
    ),
    (
        "[cache]\nthreads = 3\n",
        "@f.toml:2: threads: no such key in [cache]; it is threads in [resources]",
    ),
    // What is said of stores by hand; all mistakes: `src/by_hand/tests.rs`.
    ("[[stroe]]\n", "@f.toml:1: [stroe]: no such table; similar: [[store]]"),
    ("[store]\npath = \"*\"\n", "@f.toml:1: store: write [[store]], with two brackets"),
    (
        "[[mount]]\nsource = \"/a\"\nmountpoint = \"/b\"\n[[mount.store]]\npath = \"*\"\nunit = \"s\"\n",
        "@f.toml:6: unit = \"s\": is not a unit such as um, mm or nanometer",
    ),
    (
        "[[view]]\nname = \"v\"\nof = \"../a\"\n",
        "@f.toml:3: of = \"../a\": leads out of the folder with \"..\"",
    ),
    // Values: the words are those of the flags.
    ("[cache]\nsize = true\n", "@f.toml:2: size = true: is not a size such as 200GiB"),
    ("[cache]\nsize = \"lots\"\n", "@f.toml:2: size = lots: is not a size such as 200GiB"),
    (
        "[cache]\nmin-free = 100\n[resources]\nthreads = 4.5\n",
        "@f.toml:4: threads = 4.5: is not a number from 1 to 1024",
    ),
    ("[resources]\nmemory = \"1KiB\"\n", "@f.toml:2: memory = 1KiB: at least 16.0 MiB is needed"),
    (
        "[defaults]\nfollow-links = \"please\"\n",
        "@f.toml:2: follow-links = please: is neither true nor false",
    ),
    ("[defaults]\nlabels = true\n", "@f.toml:2: labels = true: is none of hide, files, channels"),
    (
        "[defaults]\npyramid = \"sorce\"\n",
        "@f.toml:2: pyramid = sorce: is none of auto, source, imaris; similar: source",
    ),
    ("[defaults]\numask = 9\n", "@f.toml:2: umask = 9: is not an octal number from 000 to 777"),
    ("[defaults]\nuid = [1]\n", "@f.toml:2: uid: is not a single value"),
    ("[log]\nformat = \"xml\"\n", "@f.toml:2: format = xml: is none of text, json"),
    // Paths.
    ("[[mount]]\nmountpoint = \"/b\"\n", "@f.toml:1: [[mount]]: source is missing"),
    ("\n[[mount]]\nsource = \"/a\"\n", "@f.toml:2: [[mount]]: mountpoint is missing"),
    (
        "[[mount]]\nsource = \"a\"\nmountpoint = \"/b\"\n",
        "@f.toml:2: source = a: is not a whole path, which begins with /",
    ),
    (
        "[[mount]]\nsource = \"ftp://b/a\"\nmountpoint = \"/b\"\n",
        "@f.toml:2: source = ftp://b/a: ftp:// is not understood; an address begins with s3://, gs://, az://, http:// or https://",
    ),
    (
        "[cache]\ndir = \"~/cache\"\n",
        "@f.toml:2: dir = ~/cache: is not a whole path, which begins with /",
    ),
    // Mounts that are in the way of each other.
    (
        "[[mount]]\nsource = \"/a\"\nmountpoint = \"/a/b\"\n",
        "@f.toml:3: mountpoint = /a/b: lies inside SOURCE; stores and mount must be apart",
    ),
    (
        "[[mount]]\nsource = \"/a\"\nmountpoint = \"/m\"\n[[mount]]\nsource = \"/b\"\nmountpoint = \"/a/b\"\n",
        "@f.toml:6: mountpoint = /a/b: lies inside SOURCE /a; stores and mount must be apart",
    ),
    (
        "[[mount]]\nsource = \"/a\"\nmountpoint = \"/m\"\n[[mount]]\nsource = \"/b\"\nmountpoint = \"/m\"\n",
        "@f.toml:6: mountpoint = /m: is the mount point of two mounts",
    ),
    (
        "[[mount]]\nsource = \"/a\"\nmountpoint = \"/m\"\n[[mount]]\nsource = \"/b\"\nmountpoint = \"/m/b\"\n",
        "@f.toml:6: mountpoint = /m/b: lies inside MOUNTPOINT /m; mounts must be apart",
    ),
    (
        "[cache]\nsize = \"1GiB\"\n",
        "@f.toml: has no [[mount]], and SOURCE and MOUNTPOINT are missing; see --help",
    ),
];

/// What only a look at the machine shows.
const SEEN: &[(&str, &str)] = &[
    (
        "[[mount]]\nsource = \"@none\"\nmountpoint = \"@mount\"\n",
        "@f.toml:2: source = @none: no such file or directory",
    ),
    (
        "[[mount]]\nsource = \"@source\"\nmountpoint = \"@full\"\n",
        "@f.toml:3: mountpoint = @full: is not empty",
    ),
    (
        "[[mount]]\nsource = \"@source\"\nmountpoint = \"@source/../source/inside\"\n",
        "@f.toml:3: mountpoint = @source/../source/inside: lies inside SOURCE; stores and mount must be apart",
    ),
    (
        "[cache]\ndir = \"@source/c\"\n[[mount]]\nsource = \"@source\"\nmountpoint = \"@mount\"\n",
        "@f.toml:2: dir = @source/c: lies inside SOURCE, where nothing is ever written",
    ),
];

#[test]
fn each_mistake_names_its_line_and_has_its_status() {
    let folders = Folders::new();
    let mut faults = Vec::new();
    for (status, table) in [(2, MISTAKES), (1, SEEN)] {
        for (text, line) in table {
            fs::write(folders.folder.path().join("f.toml"), folders.expand(text)).expect("a file");
            let output = refused("--config @f.toml", &folders);
            let said = String::from_utf8(output.stderr).expect("UTF-8");
            let wanted = format!("zarrims-mount: {}", folders.expand(line));
            // What the parser of TOML says about syntax is its own business.
            let is_it = if line.ends_with(' ') {
                said.starts_with(&wanted) && said.lines().count() == 1
            } else {
                said == format!("{wanted}\n")
            };
            if !is_it || output.status.code() != Some(status) || folders.mounted() {
                faults.push(format!("{text}\n  {said:?}, wanted\n  {wanted:?}; {}", output.status));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let folders = Folders::new();
    for (words, line) in [
        ("--config @none", "--config @none: no such file or directory"),
        ("ZARRIMS_CONFIG=@none @source @mount", "ZARRIMS_CONFIG=@none: no such file or directory"),
        ("--config ~/f", "--config ~/f: the shell did not expand ~; write the whole path"),
    ] {
        let output = refused(words, &folders);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(said, format!("zarrims-mount: {}\n", folders.expand(line)));
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
}

const TWO: &str = "[cache]\nsize = \"1GiB\"\n[defaults]\nlabels = \"files\"\n\
    [[mount]]\nsource = \"@source\"\nmountpoint = \"@mount\"\nstatistics = \"exact\"\n\
    [[mount]]\nsource = \"@other\"\nmountpoint = \"@empty\"\n";

/// Runs the program with a file of two mounts.
fn with_two(folders: &Folders, args: &[&str]) -> String {
    fs::create_dir_all(folders.folder.path().join("other/x")).expect("a folder");
    let file = folders.folder.path().join("f.toml");
    fs::write(&file, folders.expand(TWO)).expect("a file");
    let output = command(&[]).args(args).arg("--config").arg(file).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_printed_configuration_can_be_used_and_prints_the_same() {
    let folders = Folders::new();
    let printed = with_two(&folders, &["--print-config", "--memory", "64MiB"]);
    for line in [
        "memory = \"64MiB\" # --memory",
        "size = \"1GiB\" # @f.toml:2",
        "min-free = \"5%\" # default",
        "labels = \"files\" # @f.toml:4",
        "source = \"@other\" # @f.toml:10",
    ] {
        let line = folders.expand(line);
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
    let again = folders.folder.path().join("again.toml");
    fs::write(&again, &printed).expect("a file");
    let output = command(&[]).arg("--print-config").arg("--config").arg(again).output();
    let second = String::from_utf8(output.expect("the program starts").stdout).expect("UTF-8");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" # ").next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(values(&second), values(&printed));
}

#[test]
fn a_list_names_the_source_of_each_mount() {
    let folders = Folders::new();
    let text = with_two(&folders, &["--list"]);
    let lines: Vec<&str> = text.lines().collect();
    let path = |name: &str| folders.folder.path().join(name).display().to_string();
    assert_eq!(lines[0], format!("{}:", path("source")), "{text}");
    assert!(lines[1].starts_with("a.ims "), "{text}");
    assert!(lines[2].contains("1 needs a pass over all its voxels"), "exact statistics: {text}");
    assert_eq!(
        lines[3..5],
        [format!("{}:", path("other")), format!("no Zarr stores found in {}", path("other"))]
    );
    let json = with_two(&folders, &["--list", "--json"]);
    let row: Value = serde_json::from_str(json.lines().next().expect("a row")).expect("JSON");
    assert_eq!(row["source"], path("source"));
    assert_eq!(row["file"], "a.ims");
}

#[test]
fn a_list_is_checked_as_a_mount_is() {
    let folders = Folders::new();
    for (words, line) in [
        (
            "--list @source --cache-dir @source/c",
            "--cache-dir @source/c: lies inside SOURCE, where nothing is ever written",
        ),
        (
            "--list @source --min-free 16000PiB --cache-dir @cache",
            "--min-free 15.6 EiB: leaves no room for the cache",
        ),
    ] {
        let output = refused(words, &folders);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(said.starts_with(&format!("zarrims-mount: {}", folders.expand(line))), "{said}");
        assert_eq!(output.status.code(), Some(1), "{words}");
    }
}
