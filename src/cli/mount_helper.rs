//! The command line of `mount.zarrims`, the helper that `mount(8)` starts for `mount -t zarrims` and for lines of
//! `fstab`, as words of the ordinary command line.
//!
//! The protocol is in `mount(8)`, "EXTERNAL HELPERS": `mount.TYPE SOURCE MOUNTPOINT [-sfnv] [-N NAMESPACE]
//! [-o OPTIONS] [-t TYPE]`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use clap::{ArgAction, Command};

use crate::words::similar;

/// Names under which the program is the helper: of `zarrims`, and of `fuse.zarrims`, which is what the table of
/// mounts has.
const NAMES: [&str; 2] = ["mount.zarrims", "mount.fuse.zarrims"];

const USAGE: &str = "mount.zarrims SOURCE MOUNTPOINT [-sfnv] [-o OPTION[=VALUE],...]";

/// Options that other programs act on, or that say what holds anyway: nothing in the mount is writable, executable
/// or a device, and times of access are not kept. `mount(8)` passes `rw` on where nothing is said.
const WITHOUT_MEANING: [&str; 40] = [
    "_netdev",
    "async",
    "atime",
    "auto",
    "default_permissions",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "group",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "noexec",
    "nofail",
    "nogroup",
    "noiversion",
    "nolazytime",
    "nomand",
    "noowner",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nouser",
    "nousers",
    "owner",
    "relatime",
    "ro",
    "rw",
    "silent",
    "strictatime",
    "suid",
    "sync",
    "users",
];

/// Arguments of the ordinary command line that are no options of a mount.
const NOT_OF_A_MOUNT: [&str; 6] = ["background", "help", "json", "list", "print-config", "version"];

/// Whether the program is called as the helper, by the name that is the first word.
#[must_use]
pub fn is_mount_helper(words: &[OsString]) -> bool {
    let name = words.first().and_then(|word| Path::new(word).file_name());
    name.is_some_and(|name| NAMES.iter().any(|known| name == *known))
}

/// What the words of the helper ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The ordinary command line.
    pub(super) words: Vec<OsString>,
    /// `-f`: the words are looked at, and nothing is mounted.
    pub(super) only_checks: bool,
}

/// Reads the words of the helper, for the ordinary command line that `known` defines.
///
/// # Errors
/// What is wrong with them, in one line.
pub(super) fn translate(words: &[OsString], known: &Command) -> Result<Asked, String> {
    let given = Given::read(words)?;
    let mut translated = vec![OsString::from("zarrims-mount"), "--background".into()];
    for option in &given.options {
        match flag(option, known) {
            Ok(flag) => translated.extend(flag),
            Err(_) if given.is_sloppy => {}
            Err(line) => return Err(line),
        }
    }
    translated.push("--".into());
    let [source, mountpoint] = <[OsString; 2]>::try_from(given.paths).map_err(|paths| {
        let reason = if paths.len() < 2 { "a path is missing" } else { "one argument too many" };
        format!("{reason}: {USAGE}")
    })?;
    translated.extend([source, mountpoint]);
    Ok(Asked { words: translated, only_checks: given.only_checks })
}

/// The words, sorted.
#[derive(Debug, Default)]
struct Given {
    paths: Vec<OsString>,
    options: Vec<OsString>,
    only_checks: bool,
    /// Unknown options are no mistake.
    is_sloppy: bool,
}

impl Given {
    fn read(words: &[OsString]) -> Result<Self, String> {
        let mut given = Self::default();
        let mut words = words.iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_bytes() {
                [b'-', letters @ ..] if !letters.is_empty() => given.take(letters, &mut words)?,
                _ => given.paths.push(word.clone()),
            }
        }
        Ok(given)
    }

    /// Takes a word of letters, of which the last may have a value.
    fn take<'a>(
        &mut self,
        letters: &[u8],
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), String> {
        for (at, letter) in letters.iter().enumerate() {
            match letter {
                b'f' => self.only_checks = true,
                b's' => self.is_sloppy = true,
                // No table of mounts but the kernel's; the log says enough; never writable.
                b'n' | b'v' | b'r' | b'w' => {}
                b'o' | b't' | b'N' => {
                    let here = OsStr::from_bytes(&letters[at + 1..]).to_owned();
                    let letter = char::from(*letter);
                    let value = if here.is_empty() { rest.next().cloned() } else { Some(here) };
                    let value =
                        value.ok_or_else(|| format!("-{letter}: a value is missing: {USAGE}"))?;
                    match letter {
                        'o' => self.options.extend(split(&value)),
                        'N' => {
                            let hint =
                                "start mount itself in it: nsenter --mount=NAMESPACE mount ...";
                            return Err(format!("-N: no mounts in another namespace; {hint}"));
                        }
                        // It is one of the names that have led here.
                        _ => {}
                    }
                    return Ok(());
                }
                _ => {
                    let word = String::from_utf8_lossy(letters);
                    return Err(format!("-{word}: no such option: {USAGE}"));
                }
            }
        }
        Ok(())
    }
}

/// The options between commas. Quotes keep commas of a value together, as in `mount(8)`.
fn split(options: &OsStr) -> Vec<OsString> {
    let (mut found, mut option, mut is_quoted) = (Vec::new(), Vec::new(), false);
    for &byte in options.as_bytes() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => found.push(OsString::from_vec(std::mem::take(&mut option))),
            _ => option.push(byte),
        }
    }
    found.push(OsString::from_vec(option));
    found.retain(|option| !option.is_empty());
    found
}

/// The flag for an option such as `cache_size=200G`; none for one that changes nothing here.
fn flag(option: &OsStr, known: &Command) -> Result<Option<OsString>, String> {
    let bytes = option.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b'=');
    let (name, value) = bytes.split_at(end.unwrap_or(bytes.len()));
    let name = String::from_utf8_lossy(name);
    let is_of_others = name.starts_with("x-") || name.starts_with("X-");
    if is_of_others || matches!(&*name, "comment" | "user") || WITHOUT_MEANING.contains(&&*name) {
        return Ok(None);
    }
    if name == "remount" {
        return Err("-o remount: unmount, and mount again".to_owned());
    }
    let long = name.replace('_', "-");
    let is_of_a_mount = |name: &&str| !NOT_OF_A_MOUNT.contains(name);
    let mut options =
        known.get_arguments().filter(|arg| arg.get_long().as_ref().is_some_and(is_of_a_mount));
    let Some(arg) = options.find(|arg| arg.get_long() == Some(&long)) else {
        let names = known.get_arguments().filter_map(|arg| arg.get_long()).filter(is_of_a_mount);
        let similar = similar(&long, names).map(|name| name.replace('-', "_"));
        let similar = similar.map(|name| format!("; similar: {name}")).unwrap_or_default();
        return Err(format!("-o {name}: no such option{similar}; see zarrims-mount --help"));
    };
    let mut flag = OsString::from(format!("--{long}"));
    // A value that is missing must not be the next word.
    let needs_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    flag.push(match value {
        [] if needs_value => OsStr::new("="),
        value => OsStr::from_bytes(value),
    });
    Ok(Some(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    fn translated(line: &str) -> Result<Asked, String> {
        let words: Vec<_> = line.split(' ').map(OsString::from).collect();
        assert!(is_mount_helper(&words), "{line}");
        translate(&words, &command())
    }

    #[test]
    fn it_is_told_by_its_name() {
        for (word, expected) in [
            ("mount.zarrims", true),
            ("/sbin/mount.fuse.zarrims", true),
            ("zarrims-mount", false),
            ("/opt/mount.zarrims/zarrims-mount", false),
            ("mount.zarrims2", false),
        ] {
            assert_eq!(is_mount_helper(&[word.into()]), expected, "{word}");
        }
        assert!(!is_mount_helper(&[]));
    }

    #[test]
    fn words_become_the_ordinary_command_line() {
        for (line, expected) in [
            ("mount.zarrims /s /m", "-- /s /m"),
            ("mount.zarrims /s /m -o rw", "-- /s /m"),
            (
                "/sbin/mount.zarrims /s /m -sfnv -o cache_size=200G,allow_other",
                "--cache-size=200G --allow-other -- /s /m",
            ),
            (
                "mount.zarrims -o cache-size=1G -oumask=027 -n s3://b/x /m",
                "--cache-size=1G --umask=027 -- s3://b/x /m",
            ),
            (
                "mount.fuse.zarrims /s /m -o ro,_netdev,nofail,x-systemd.automount,noauto,user,user=ana,defaults,nodev -t fuse.zarrims",
                "-- /s /m",
            ),
            (
                "mount.zarrims /s /m -o ,cache_dir=\"/a,b\",,verbose",
                "--cache-dir=/a,b --verbose -- /s /m",
            ),
            ("mount.zarrims /s /m -o config=/etc/z.toml", "--config=/etc/z.toml -- /s /m"),
            // Wrong values are told as anywhere else.
            ("mount.zarrims /s /m -o cache_size", "--cache-size= -- /s /m"),
            ("mount.zarrims /s /m -o allow_other=1", "--allow-other=1 -- /s /m"),
            ("mount.zarrims /s /m -s -o nonsense", "-- /s /m"),
        ] {
            let asked = translated(line).unwrap_or_else(|why| panic!("{line}: {why}"));
            let words: Vec<_> =
                asked.words.iter().map(|word| word.to_str().expect("UTF-8")).collect();
            assert_eq!(words.join(" "), format!("zarrims-mount --background {expected}"));
            assert_eq!(asked.only_checks, line.contains("-sfnv"), "{line}");
        }
    }

    #[test]
    fn mistakes_are_one_line() {
        for (line, expected) in [
            ("mount.zarrims /s", "a path is missing: "),
            ("mount.zarrims /s /m /x", "one argument too many: "),
            ("mount.zarrims /s /m -o", "-o: a value is missing: "),
            ("mount.zarrims /s /m -x", "-x: no such option: "),
            ("mount.zarrims -h", "-h: no such option: "),
            ("mount.zarrims /s /m -N 1", "-N: no mounts in another namespace; "),
            (
                "mount.zarrims /s /m -o cache_sise=1G",
                "-o cache_sise: no such option; similar: cache_size; ",
            ),
            ("mount.zarrims /s /m -o qqqq", "-o qqqq: no such option; see zarrims-mount --help"),
            ("mount.zarrims /s /m -o list", "-o list: no such option; "),
            ("mount.zarrims /s /m -o remount,ro", "-o remount: unmount, and mount again"),
        ] {
            let why = translated(line).expect_err(line);
            assert!(why.starts_with(expected), "{line}: {why}");
        }
    }
}
