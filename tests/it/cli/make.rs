//! The targets of the Makefile.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::common::skipped;

/// The commands of a target, none of which is run.
fn commands(target: &str) -> Option<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("make")
        .args(["--dry-run", "--no-print-directory", "CARGO=cargo", target])
        .current_dir(folder)
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output();
    let Ok(output) = output else {
        skipped("make is not installed");
        return None;
    };
    assert!(output.status.success(), "{target}: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    Some(text.lines().map(str::to_owned).collect())
}

#[test]
fn all_targets_share_one_release_build() {
    let mut builds = BTreeSet::new();
    for target in ["build", "demo", "conformance", "writers", "neighbours", "test"] {
        let Some(commands) = commands(target) else { return };
        let own: Vec<String> =
            commands.into_iter().filter(|line| line.starts_with("cargo build")).collect();
        assert!(!own.is_empty(), "{target} builds nothing");
        builds.extend(own);
    }
    assert_eq!(builds.len(), 1, "{builds:#?}");
}

#[test]
fn the_test_target_says_first_what_it_costs() {
    let Some(commands) = commands("test") else { return };
    assert_eq!(commands.first().map(String::as_str), Some("scripts/cost.sh"));
    let output = Command::new("scripts/cost.sh").current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("a script");
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for word in ["minutes", "GB", "apt-get", "cargo-fuzz", "Bio-Formats"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
}

/// Whatever is installed by Cargo goes below `target`.
#[test]
fn nothing_is_installed_into_the_users_folder() {
    for script in
        [include_str!("../../../scripts/fuzz.sh"), include_str!("../../../scripts/deb.sh")]
    {
        let installs: Vec<&str> =
            script.lines().filter(|line| line.contains("cargo install")).collect();
        assert_eq!(installs.len(), 1, "{installs:#?}");
        assert!(installs[0].contains("--root \"$tools\""), "{installs:#?}");
    }
}
