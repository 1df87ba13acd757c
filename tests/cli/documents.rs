//! The documents and the program say the same.

use std::ffi::OsStr;

use crate::common::run;

#[test]
fn help_and_version() {
    let help = run(&[OsStr::new("--help")]);
    assert!(help.status.success(), "{}", help.status);
    let text = String::from_utf8(help.stdout).expect("UTF-8");
    for word in [
        "SOURCE",
        "MOUNTPOINT",
        "--list",
        "--json",
        "--cache-dir",
        "--cache-size",
        "--allow-other",
        "--uid",
        "--gid",
        "--umask",
        "--threads",
        "--memory",
        "--verbose",
        "--log-format",
    ] {
        assert!(text.contains(word), "{word} is not in the help");
    }
    let version = run(&[OsStr::new("--version")]);
    assert!(version.status.success(), "{}", version.status);
    let text = String::from_utf8(version.stdout).expect("UTF-8");
    assert_eq!(text.trim(), format!("zarrims-mount {}", env!("CARGO_PKG_VERSION")));
}
