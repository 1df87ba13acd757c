//! The kernel's table of mounts. To ask a mount itself could be to ask this very process.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Where.
    pub(crate) path: PathBuf,
    /// `major:minor`.
    pub(crate) device: String,
    /// Its type, such as `fuse.zarrims`.
    pub(crate) kind: String,
}

/// What is mounted, the last one last.
///
/// # Errors
/// Those of `/proc`.
pub(crate) fn all() -> io::Result<Vec<Mounted>> {
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// The file system that was mounted last at a path.
///
/// # Errors
/// Those of `/proc`.
pub(crate) fn mounted_at(path: &Path) -> io::Result<Option<Mounted>> {
    Ok(all()?.into_iter().rfind(|mounted| mounted.path == path))
}

/// A line of `mountinfo` (`proc_pid_mountinfo(5)`): the third field is the device, the fifth the path, and the type is
/// the first one behind a dash.
fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?;
    let path = unescaped(fields.nth(1)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some(Mounted { path: OsStr::from_bytes(&path).into(), device: text(device), kind: text(kind) })
}

/// Undoes `\ooo`, by which the kernel writes spaces, tabs, line ends and backslashes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            out.push(code);
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_mount() {
        let line = br"90 29 0:41 / /mnt/my\040ims ro,nosuid shared:7 - fuse.zarrims zarrims ro";
        let expected = Mounted {
            path: "/mnt/my ims".into(),
            device: "0:41".to_owned(),
            kind: "fuse.zarrims".to_owned(),
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse(b""), None);
        assert_eq!(unescaped(br"a\134b\9"), br"a\b\9");
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(mounted_at(Path::new("/")).expect("a table").is_some());
        assert_eq!(mounted_at(Path::new("/no such mount")).expect("a table"), None);
    }
}
