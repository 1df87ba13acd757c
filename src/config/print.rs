//! The merged configuration as a file that can be read again, with the origin of each value.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use crate::objects::{Address, redacted};

use crate::by_hand::{Line, Tables, quoted};

use super::merge::Merged;
use super::options::{Form, OPTIONS, Opt, Section, variable};
use super::setting::{Origin, Setting, Settings};
use super::value::parse_switch;

impl Merged {
    /// All settings as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let tables = [
            ("cache", Section::Cache),
            ("resources", Section::Resources),
            ("control", Section::Control),
            ("log", Section::Log),
        ];
        for (table, section) in tables {
            writeln!(out, "[{table}]")?;
            write_options(out, &self.settings, section)?;
            writeln!(out)?;
        }
        for (number, mount) in self.mounts.iter().enumerate() {
            let line = if number > 0 { "\n[[mount]]" } else { "[[mount]]" };
            writeln!(out, "{line}")?;
            for path in std::iter::once(&mount.source).chain(&mount.mountpoint) {
                let whole = match path.as_address() {
                    // Without secrets: where there are some, the file has to be completed.
                    Some(address) => address.as_str().into(),
                    None => absolute(path.as_path()),
                };
                write_line(out, path.key, &quoted_path(&whole), &path.origin, path.name)?;
            }
            write_options(out, &mount.settings, Section::Mount)?;
            let Tables { stores, views } = &mount.by_hand;
            for table in stores {
                write_table(out, "store", &table.lines)?;
            }
            for table in views {
                write_table(out, "view", &table.lines)?;
            }
        }
        Ok(())
    }
}

/// A table of what is said by hand.
fn write_table(out: &mut String, name: &str, lines: &[Line]) -> fmt::Result {
    writeln!(out, "\n[[mount.{name}]]")?;
    for Line { key, value, origin } in lines {
        let origin = origin.to_string().replace(char::is_control, "?");
        writeln!(out, "{key} = {value} # {origin}")?;
    }
    Ok(())
}

fn write_options(out: &mut String, settings: &Settings, section: Section) -> fmt::Result {
    for option in OPTIONS.iter().filter(|option| option.section == section) {
        let Setting { text, origin, .. } = settings.get(option.name);
        match text {
            None if matches!(option.form, Form::Switch) => {
                write_line(out, option.key(), "false", origin, option.name)?;
            }
            None => writeln!(out, "# {} = (by the machine or the source)", option.key())?,
            Some(text) => {
                let value = value_of(option, Path::new(text));
                write_line(out, option.key(), &value, origin, option.name)?;
            }
        }
    }
    Ok(())
}

fn value_of(option: &Opt, text: &Path) -> String {
    match option.form {
        Form::Switch => parse_switch(&text.to_string_lossy()).is_ok_and(|is_on| is_on).to_string(),
        Form::Place(_) if Address::parse(&text.to_string_lossy()).is_some() => {
            quoted(&redacted(&text.to_string_lossy()))
        }
        Form::Folder | Form::Place(_) => quoted_path(&absolute(text)),
        Form::OneOf(_) | Form::Text(_) => quoted(&text.to_string_lossy()),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn write_line(
    out: &mut String,
    key: &str,
    value: &str,
    origin: &Origin,
    name: &str,
) -> fmt::Result {
    let origin = match origin {
        Origin::Default => "default".to_owned(),
        Origin::File { file, line } => format!("{}:{line}", file.display()),
        Origin::Variable => variable(name),
        Origin::Flag => format!("--{name}"),
        Origin::Argument => name.to_uppercase(),
    };
    writeln!(out, "{key} = {value} # {}", origin.replace(char::is_control, "?"))
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::file::File;
    use crate::config::merge::Given;

    /// What is printed, read again: the same texts.
    #[test]
    fn what_is_printed_can_be_read_again() {
        let values = [
            ("cache-dir", "/c a\"c\\h\u{e9}\n"),
            ("cache-size", "3GiB"),
            ("min-free", "7%"),
            ("allow-other", "yes"),
            ("uid", "12"),
            ("umask", "027"),
            ("pyramid", "imaris"),
            ("threads", "12"),
            ("log-format", "json"),
        ];
        let settings = Settings::new(|option| {
            let found = values.iter().find(|(name, _)| *name == option.name);
            found.map(|(_, text)| (OsString::from(text), Origin::Flag))
        });
        let path = |name, path: &str| Some(Setting::path(name, path.into(), Origin::Argument));
        let given = Given {
            source: path("source", "/s"),
            mountpoint: path("mountpoint", "/m"),
            settings,
            file: None,
            lists: false,
        };
        let by_hand = "[[store]]\npath = \"a\\\\\\\"b\"\nvoxel_size = { x = 1_0, y = 2.5e-1 }\nhidden = true\n\
            [[store.channels]]\nname = \"\u{e9}\"\nrange = [-1, 0x10]\n\
            [[view]]\nname = \"v\"\nof = [{ of = \"a\", z = [0, 1] }, \"b\"]\nas = \"channels\"\n";
        let by_hand = File::parse(Path::new("/h"), by_hand).expect("valid");
        let printed = given.clone().merge_with(Some(&by_hand)).expect("valid").to_toml();
        assert!(printed.contains("\n[[mount.view]]\nname = \"v\" # /h:"), "{printed}");
        assert!(printed.contains("size = \"3GiB\" # --cache-size\n"), "{printed}");
        assert!(printed.contains("allow-other = true # --allow-other\n"), "{printed}");
        assert!(printed.contains("int16 = \"float32\" # default\n"), "{printed}");
        assert!(printed.contains("# memory = (by the machine or the source)\n"), "{printed}");
        let file = File::parse(Path::new("/f"), &printed).expect("it can be read");
        let nothing = Settings::new(|_| None);
        let again = Given { source: None, mountpoint: None, settings: nothing, ..given };
        let again = again.merge_with(Some(&file)).expect("valid");
        let values = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with("# "));
            lines
                .map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value).to_owned())
                .collect()
        };
        assert_eq!(values(&again.to_toml()), values(&printed));
    }
}
