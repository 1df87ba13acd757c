//! A configuration file to start from: every option of the table, as a comment.

use std::fmt::{self, Write};

use super::merge::DEFAULT_FILE;
use super::options::{Form, OPTIONS, Opt, Section};
use crate::by_hand::quoted;

/// Columns of a comment.
const WIDTH: usize = 100;

/// The text of the file, as TOML. As long as nothing in it is changed, it says nothing.
#[must_use]
pub fn example() -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_example(&mut out);
    out
}

fn write_example(out: &mut String) -> fmt::Result {
    let about = format!(
        "Configuration of zarrims-mount, read from {DEFAULT_FILE}, or from the file that --config names. \
         A comment of one # is a setting with its default, or with a possible value where the default depends \
         on the machine; to set it, remove the #. See zarrims.toml(5)."
    );
    comment(out, &about)?;
    for section in Section::ALL {
        let about = match section {
            Section::Cache => "One cache for all mounts.",
            Section::Resources => "One budget for all mounts.",
            Section::Control => "How the daemon is asked and steered.",
            Section::Log => "",
            Section::Mount => "Of every mount that does not say otherwise.",
        };
        writeln!(out)?;
        comment(out, about)?;
        writeln!(out, "[{}]", section.table())?;
        for option in OPTIONS.iter().filter(|option| option.section == section) {
            writeln!(out)?;
            comment(out, option.help)?;
            writeln!(out, "#{} = {}", option.key(), value(option))?;
        }
    }
    writeln!(out)?;
    comment(out, "A mount; there may be several, each with any key of [defaults].")?;
    writeln!(out, "#[[mount]]\n#source = \"/data/zarr\"\n#mountpoint = \"/srv/ims/stores\"")
}

/// The default, or a value where there is none.
fn value(option: &Opt) -> String {
    let possible = match (option.form, option.name) {
        (Form::Switch, _) => return "false".to_owned(),
        (_, "cache-dir") => "/var/cache/zarrims/lab",
        (_, "cache-size") => "200GiB",
        (_, "memory") => "1GiB",
        (_, "threads") => "16",
        (_, "uid" | "gid") => "1000",
        (_, "socket") => "/run/zarrims/lab.sock",
        (_, "socket-group") => "root",
        (_, "listen") => "127.0.0.1:9118",
        (_, "log-filter") => "info",
        (Form::Place(_), _) => "s3://bucket/prefix",
        (_, name) if name.ends_with("region") => "eu-central-1",
        (_, name) if name.ends_with("endpoint") => "https://minio.example.org",
        (Form::Folder, _) => "/path",
        _ => "",
    };
    quoted(option.default.unwrap_or(possible))
}

/// Writes a text as lines of comment.
fn comment(out: &mut String, text: &str) -> fmt::Result {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            writeln!(out, "## {line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.is_empty() { Ok(()) } else { writeln!(out, "## {line}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::config::file::File;

    #[test]
    fn the_example_says_nothing_until_its_comments_are_removed() {
        let example = example();
        let file = File::parse(Path::new("/f"), &example).expect("valid");
        assert!(file.is_empty(), "{example}");
        let settings: Vec<&str> = example
            .lines()
            .filter(|line| !line.starts_with("##"))
            .map(|line| line.strip_prefix('#').unwrap_or(line))
            .collect();
        let file = File::parse(Path::new("/f"), &settings.join("\n")).expect("each value is one");
        let all = file.settings.iter().chain(&file.defaults);
        let named: BTreeSet<&str> = all.map(|setting| setting.name).collect();
        assert_eq!(named, OPTIONS.iter().map(|option| option.name).collect());
        assert_eq!(file.mounts.len(), 1);
        assert!(example.lines().all(|line| line.len() <= WIDTH + 3), "{example}");
    }
}
