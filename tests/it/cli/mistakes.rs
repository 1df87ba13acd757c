//! Plausible mistakes at the command line: the one line printed for each, and the exit status.

use bytesize::ByteSize;
use rustix::fs::statvfs;

use super::rig::{Folders, refused, tree};

/// Mistakes that the command line alone shows, with the line printed.
const SHOWN: &[(&str, &str)] = &[
    ("", "SOURCE and MOUNTPOINT are missing; see --help"),
    ("@source", "MOUNTPOINT is missing; see --help"),
    ("--list", "SOURCE is missing; see --help"),
    ("'' @mount", "SOURCE: is empty; see --help"),
    ("@source ''", "MOUNTPOINT: is empty; see --help"),
    (
        "@my stores @mount",
        "@mount: one argument too many; names with spaces need quotes; see --help",
    ),
    ("--memory 1GiB status", "status: a verb comes first: zarrims-mount status ...; see --help"),
    ("@source @mount --list", "MOUNTPOINT @mount: --list takes SOURCE only; see --help"),
    ("--list --json @source @mount", "MOUNTPOINT @mount: --list takes SOURCE only; see --help"),
    ("--json", "--json: only with --list: zarrims-mount --list --json SOURCE; see --help"),
    ("--json @source", "--json: only with --list: zarrims-mount --list --json SOURCE; see --help"),
    (
        "@source @mount --json",
        "--json: only with --list: zarrims-mount --list --json SOURCE; see --help",
    ),
    // Options that are not there.
    (
        "@source @mount --cache-sise 5GB",
        "--cache-sise: no such option; similar: --cache-size; see --help",
    ),
    (
        "@source @mount --cache_size=5GB",
        "--cache_size: no such option; similar: --cache-size; see --help",
    ),
    (
        "@source @mount --allow-others",
        "--allow-others: no such option; similar: --allow-other; see --help",
    ),
    ("@source @mount --daemonize", "--daemonize: no such option; see --help"),
    ("@source @mount -o allow_other", "-o: no such option; see --help"),
    ("-list @source", "-list: no such option; similar: --list; see --help"),
    (
        "@source @mount -cache-size=5GB",
        "-cache-size: no such option; similar: --cache-size; see --help",
    ),
    (
        "\u{2013}\u{2013}list @source",
        "SOURCE \u{2013}\u{2013}list: begins with a long dash; options begin with two short ones",
    ),
    ("--list=yes @source", "--list=yes: --list takes no value; see --help"),
    // Values.
    (
        "@source @mount --cache-size",
        "--cache-size: a value is missing: --cache-size SIZE; see --help",
    ),
    (
        "@source @mount --cache-size=",
        "--cache-size: a value is missing: --cache-size SIZE; see --help",
    ),
    ("@source @mount --cache-size lots", "--cache-size lots: is not a size such as 200GiB"),
    ("@source @mount --cache-size 200GiBs", "--cache-size 200GiBs: is not a size such as 200GiB"),
    ("@source @mount --cache-size 50%", "--cache-size 50%: is not a size such as 200GiB"),
    ("@source @mount --cache-size 1KiB", "--cache-size 1KiB: at least 64.0 MiB is needed"),
    ("@source @mount --memory 12parsecs", "--memory 12parsecs: is not a size such as 1GiB"),
    ("@source @mount --memory 4", "--memory 4: at least 16.0 MiB is needed"),
    ("@source @mount --min-free much", "--min-free much: is not a size such as 20GiB or 5%"),
    ("@source @mount --min-free 100%", "--min-free 100%: leaves no room for the cache"),
    ("@source @mount --min-free 120%", "--min-free 120%: is not a percentage from 0% to 99%"),
    ("@source @mount --umask 9", "--umask 9: is not an octal number from 000 to 777"),
    ("@source @mount --umask 1777", "--umask 1777: is not an octal number from 000 to 777"),
    ("@source @mount --threads 0", "--threads 0: is not a number from 1 to 1024"),
    ("@source @mount --threads all", "--threads all: is not a number from 1 to 1024"),
    ("@source @mount --uid me", "--uid me: is not a number such as 1000"),
    ("@source @mount --gid -1", "--gid -1: is not a number such as 1000"),
    ("@source @mount --log-format xml", "--log-format xml: is none of text, json"),
    (
        "@source @mount --pyramid sorce",
        "--pyramid sorce: is none of auto, source, imaris; similar: source",
    ),
    (
        "@source @mount --chunk 16,256",
        "--chunk 16,256: is neither auto nor three lengths Z,Y,X from 1 on, such as 16,256,256",
    ),
    (
        "@source @mount --chunk 0,64,64",
        "--chunk 0,64,64: is neither auto nor three lengths Z,Y,X from 1 on, such as 16,256,256",
    ),
    (
        "@source @mount --chunk 1,4096,4096",
        "--chunk 1,4096,4096: has more than the 4194304 voxels that a chunk may have",
    ),
    (
        "@source @mount --default-unit second",
        "--default-unit second: is not a unit of length such as um, mm or nanometer",
    ),
    // Paths that cannot be what was meant.
    ("~/zarr @mount", "SOURCE ~/zarr: the shell did not expand ~; write the whole path"),
    (
        "@source ~ana/ims",
        "MOUNTPOINT ~ana/ims: the shell did not expand ~ana; write the whole path",
    ),
    (
        "@source @mount --cache-dir=~/cache",
        "--cache-dir ~/cache: the shell did not expand ~; write the whole path",
    ),
    (
        "@source @mount --cache-dir=$HOME/c",
        "--cache-dir $HOME/c: the shell did not expand $HOME; write the whole path",
    ),
    (
        "@source s3://bucket/zarr",
        "MOUNTPOINT s3://bucket/zarr: is an address, and must be a folder of this machine",
    ),
    (
        "ftp://host/zarr @mount",
        "SOURCE ftp://host/zarr: ftp:// is not understood; an address begins with s3://, gs://, az://, http:// or https://",
    ),
    ("--list gs://", "SOURCE gs://: names no bucket"),
    (
        "s3://bucket @mount --endpoint minio:9000",
        "--endpoint minio:9000: is not an address that begins with https:// or http://",
    ),
    (
        "s3://bucket @mount --request-timeout 0s",
        "--request-timeout 0s: is not a time from 1s to 600s",
    ),
    ("s3://bucket @mount --connections 0", "--connections 0: is not a number from 1 to 1024"),
    (
        "nas:/export/zarr @mount",
        "SOURCE nas:/export/zarr: is a folder of another machine; mount it first",
    ),
    ("D:\\zarr @mount", "SOURCE D:\\zarr: is a path of Windows"),
    // The environment.
    (
        "ZARRIMS_CACHE_SIZE=lots @source @mount",
        "ZARRIMS_CACHE_SIZE=lots: is not a size such as 200GiB",
    ),
    ("ZARRIMS_CACHE_SIZE= @source @mount", "ZARRIMS_CACHE_SIZE: is set, but empty; see --help"),
    ("ZARRIMS_MEMORY=1 @source @mount", "ZARRIMS_MEMORY=1: at least 16.0 MiB is needed"),
    (
        "ZARRIMS_PYRAMID=sorce @source @mount",
        "ZARRIMS_PYRAMID=sorce: is none of auto, source, imaris; similar: source",
    ),
    (
        "ZARRIMS_FOLLOW_LINKS=please @source @mount",
        "ZARRIMS_FOLLOW_LINKS=please: is neither true nor false",
    ),
    ("ZARRIMS_LABELS=true @source @mount", "ZARRIMS_LABELS=true: is none of hide, files, channels"),
    ("--labels @source @mount", "--labels @source: is none of hide, files, channels"),
    (
        "--image-names path @source @mount",
        "--image-names path: is none of metadata, paths; similar: paths",
    ),
    ("ZARRIMS_CACHE_DIR= @source @mount", "ZARRIMS_CACHE_DIR: is set, but empty; see --help"),
    (
        "ZARRIMS_CACHE_DIR=~/c @source @mount",
        "ZARRIMS_CACHE_DIR=~/c: the shell did not expand ~; write the whole path",
    ),
    (
        "ZARRIMS_LOG=loud @source @mount",
        "ZARRIMS_LOG=loud: is not a log filter such as debug or info,zarrims::source=trace",
    ),
    (
        "ZARRIMS_LOG=zarrims=loud --list @source",
        "ZARRIMS_LOG=zarrims=loud: is not a log filter such as debug or info,zarrims::source=trace",
    ),
    // The flag that is given is the one to blame.
    ("ZARRIMS_THREADS=4 @source @mount --threads 0", "--threads 0: is not a number from 1 to 1024"),
];

/// What only a look at the machine shows.
const SEEN: &[(&str, &str)] = &[
    ("@none @mount", "SOURCE @none: no such file or directory"),
    ("--list @none", "SOURCE @none: no such file or directory"),
    ("@file @mount", "SOURCE @file: is neither a folder nor a zip file with Zarr metadata"),
    ("--list @file", "SOURCE @file: is neither a folder nor a zip file with Zarr metadata"),
    ("/dev/null @mount", "SOURCE /dev/null: is neither a folder nor a zip file with Zarr metadata"),
    ("@source @none", "MOUNTPOINT @none: no such file or directory"),
    ("@source @file", "MOUNTPOINT @file: is not a folder"),
    ("@source @full", "MOUNTPOINT @full: is not empty"),
    (
        "@source @source/inside",
        "MOUNTPOINT @source/inside: lies inside SOURCE; stores and mount must be apart",
    ),
    ("@source @source", "MOUNTPOINT @source: lies inside SOURCE; stores and mount must be apart"),
    (
        "@source/a.ome.zarr @source",
        "MOUNTPOINT @source: contains SOURCE, which the mount would hide",
    ),
    ("@source /proc", "MOUNTPOINT /proc: something is mounted here already"),
    (
        "@empty @source",
        "MOUNTPOINT @source: is not empty, and SOURCE is: SOURCE comes first; are they swapped?",
    ),
    // Below a regular file, and in /proc, not even root can make a folder.
    ("@source @mount --cache-dir @file/cache", "--cache-dir @file/cache: not a directory"),
    ("@source @mount --cache-dir @file", "--cache-dir @file: file exists"),
    (
        "@source @mount --cache-dir /proc/zarrims",
        "--cache-dir /proc/zarrims: no such file or directory",
    ),
    (
        "@source @mount --cache-dir @source/c",
        "--cache-dir @source/c: lies inside SOURCE, where nothing is ever written",
    ),
    (
        "@source @mount --cache-dir @source/inside/a/b",
        "--cache-dir @source/inside/a/b: lies inside SOURCE, where nothing is ever written",
    ),
    (
        "ZARRIMS_CACHE_DIR=@source @source @mount",
        "ZARRIMS_CACHE_DIR=@source: lies inside SOURCE, where nothing is ever written",
    ),
    ("@source @mount --cache-dir @mount/cache", "--cache-dir @mount/cache: lies inside MOUNTPOINT"),
    (
        "@source @mount --cache-dir @cache --min-free 16000PiB",
        "--min-free 15.6 EiB: leaves no room for the cache: the disk of @cache has {total}",
    ),
    (
        "ZARRIMS_MIN_FREE=16000PiB @source @mount --cache-dir @cache",
        "ZARRIMS_MIN_FREE=15.6 EiB: leaves no room for the cache: the disk of @cache has {total}",
    ),
];

/// Everything wrong with a refusal.
fn faults(folders: &Folders, words: &str, wanted: (i32, &str)) -> Vec<String> {
    let output = refused(words, folders);
    let (status, line) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
    let mut faults = Vec::new();
    if status != Some(wanted.0) {
        faults.push(format!("{words}: {}", output.status));
    }
    let wanted = format!("zarrims-mount: {}\n", folders.expand(wanted.1));
    if line != wanted {
        faults.push(format!("{words}:\n  {line:?}, wanted\n  {wanted:?}"));
    }
    if !output.stdout.is_empty() {
        faults.push(format!("{words}: writes to standard output"));
    }
    if folders.mounted() {
        faults.push(format!("{words}: something is mounted"));
    }
    faults
}

#[test]
fn each_mistake_has_its_line_and_its_status_and_nothing_is_made() {
    let folders = Folders::new();
    let disk = statvfs(folders.folder.path()).expect("a disk");
    let total = ByteSize(disk.f_blocks * disk.f_frsize).to_string();
    let before = tree(folders.folder.path());
    let mut all = Vec::new();
    for (status, table) in [(2, SHOWN), (1, SEEN)] {
        for (words, line) in table {
            let line = line.replace("{total}", &total);
            all.extend(faults(&folders, words, (status, &line)));
        }
    }
    let after = tree(folders.folder.path());
    if before != after {
        all.push(format!("folders or files came or went: {before:?} {after:?}"));
    }
    assert!(SHOWN.len() + SEEN.len() >= 40);
    assert!(all.is_empty(), "{} faults:\n{}", all.len(), all.join("\n"));
}
