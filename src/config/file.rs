//! The configuration file: TOML with the keys of [`OPTIONS`].

use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;

use toml::de::DeValue;

use super::options::{Form, OPTIONS, Opt, Section};
use super::pairs::{Pair, check_apart};
use super::path;
use super::setting::{Mistake, Origin, Setting};
use crate::by_hand::{self, Document, Key, Place, Table, Tables, Value, in_order};
use crate::objects::Address;
use crate::words::similar;

/// Keys of a mount that are no options.
const PATHS: [&str; 2] = ["source", "mountpoint"];

/// The tables of a file: that of each section, and that of one mount.
fn tables() -> impl Iterator<Item = (&'static str, Section)> {
    let sections = Section::ALL.into_iter().map(|section| (section.table(), section));
    sections.chain([("mount", Section::Mount)])
}

/// A configuration file, each of whose values can be one of its option.
#[derive(Debug, Clone)]
pub struct File {
    /// Its path, for messages.
    pub path: Arc<Path>,
    /// Of the cache, the resources, the control socket and the log.
    pub settings: Vec<Setting>,
    /// Of all mounts that do not say otherwise.
    pub defaults: Vec<Setting>,
    /// What is said of stores in all mounts.
    pub by_hand: Tables,
    /// In the order of the file.
    pub mounts: Vec<FileMount>,
}

/// A mount of a file.
#[derive(Debug, Clone)]
pub struct FileMount {
    /// The source folder.
    pub source: Setting,
    /// The mount point.
    pub mountpoint: Setting,
    /// Its options.
    pub settings: Vec<Setting>,
    /// What is said of stores in this mount.
    pub by_hand: Tables,
}

impl File {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong with it, with its path and the line.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Mistake> {
        let document = Document::new(&path.to_string_lossy(), text);
        let reader = Reader { path: path.into(), document };
        let table = reader.document.parse()?;
        let mut file = Self {
            path: reader.path.clone(),
            settings: Vec::new(),
            defaults: Vec::new(),
            by_hand: Tables::default(),
            mounts: Vec::new(),
        };
        for (key, value) in in_order(table.get_ref()) {
            reader.take_table(&mut file, key, value)?;
        }
        check_apart(&file.pairs())?;
        Ok(file)
    }

    /// Whether nothing is set, as in `/dev/null`.
    pub(super) fn is_empty(&self) -> bool {
        let Self { path: _, settings, defaults, by_hand, mounts } = self;
        settings.is_empty() && defaults.is_empty() && by_hand.is_empty() && mounts.is_empty()
    }

    /// Without those whose letters say little.
    fn pairs(&self) -> Vec<Pair<'_>> {
        let is_plain = |path: &Path| !path.components().any(|part| part == Component::ParentDir);
        let mut pairs = Vec::new();
        for FileMount { source, mountpoint, .. } in &self.mounts {
            if !is_plain(source.as_path()) || !is_plain(mountpoint.as_path()) {
                continue;
            }
            pairs.push(Pair {
                source: Some(source.as_path().into()),
                mountpoint: mountpoint.as_path().into(),
                setting: mountpoint,
            });
        }
        pairs
    }
}

/// Reads the tables of a file.
struct Reader<'t> {
    path: Arc<Path>,
    document: Document<'t>,
}

impl Reader<'_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        Origin::File { file: self.path.clone(), line: self.document.origin(span).line }
    }

    fn mistake(&self, span: Range<usize>, words: &str) -> Mistake {
        self.document.mistake(span, words).into()
    }

    fn take_table(&self, file: &mut File, key: &Key<'_>, value: &Value<'_>) -> Result<(), Mistake> {
        let name = key.get_ref().as_ref();
        if by_hand::NAMES.contains(&name) {
            file.by_hand.add(&self.document, key, value, Place::Configuration)?;
            return Ok(());
        }
        let Some((_, section)) = tables().find(|(table, _)| *table == name) else {
            let is_table = value.get_ref().is_table() || value.get_ref().is_array();
            return Err(self.mistake(key.span(), &unknown_table(name, is_table)));
        };
        match (name, value.get_ref()) {
            ("mount", DeValue::Array(mounts)) => {
                for mount in mounts {
                    let DeValue::Table(table) = mount.get_ref() else {
                        return Err(self.mistake(mount.span(), "mount: write [[mount]]"));
                    };
                    file.mounts.push(self.mount(mount.span(), table)?);
                }
            }
            ("mount", _) => {
                return Err(self.mistake(key.span(), "mount: write [[mount]], with two brackets"));
            }
            (_, DeValue::Table(table)) => {
                let settings = self.settings(name, section, table)?;
                let all = if name == "defaults" { &mut file.defaults } else { &mut file.settings };
                all.extend(settings);
            }
            _ => return Err(self.mistake(key.span(), &format!("{name}: write [{name}]"))),
        }
        Ok(())
    }

    fn mount(&self, span: Range<usize>, table: &Table<'_>) -> Result<FileMount, Mistake> {
        let [source, mountpoint] = PATHS.map(|name| {
            let Some((key, value)) = table.get_key_value(name) else {
                return Err(self.mistake(span.clone(), &format!("[[mount]]: {name} is missing")));
            };
            let text = self.scalar(name, value)?;
            let setting = Setting::path(name, text.into(), self.origin(&key.span()));
            if name == "source" && Address::parse(&setting.as_path().to_string_lossy()).is_some() {
                let mistake = path::mistake_of_source(setting.as_path());
                return mistake.map_or(Ok(setting.clone()), |reason| Err(setting.mistake(&reason)));
            }
            check_path(&setting).map(|()| setting)
        });
        let settings = self.settings("mount", Section::Mount, table)?;
        let mut by_hand = Tables::default();
        for (key, value) in in_order(table) {
            if by_hand::NAMES.contains(&key.get_ref().as_ref()) {
                by_hand.add(&self.document, key, value, Place::Configuration)?;
            }
        }
        Ok(FileMount { source: source?, mountpoint: mountpoint?, settings, by_hand })
    }

    /// The options in a table.
    fn settings(
        &self,
        table_name: &str,
        section: Section,
        table: &Table<'_>,
    ) -> Result<Vec<Setting>, Mistake> {
        let mut settings = Vec::new();
        for (key, value) in in_order(table) {
            let name = key.get_ref().as_ref();
            let is_other = PATHS.contains(&name) || by_hand::NAMES.contains(&name);
            if table_name == "mount" && is_other {
                continue;
            }
            let found = OPTIONS.iter().find(|opt| opt.section == section && opt.key() == name);
            let Some(option) = found else {
                return Err(self.mistake(key.span(), &unknown_key(name, table_name, section)));
            };
            let text = self.scalar(name, value)?;
            let origin = self.origin(&key.span());
            let setting = Setting::of(option, Some(text.clone().into()), origin);
            let is_path = match option.form {
                Form::Folder => true,
                Form::Place(_) => Address::parse(&text).is_none(),
                _ => false,
            };
            if is_path {
                check_path(&setting)?;
            } else {
                let checked = option.check(setting.as_path().as_os_str());
                checked.map_err(|reason| setting.mistake(&reason))?;
            }
            settings.push(setting);
        }
        Ok(settings)
    }

    /// A value as text: numbers as they are written, so that the parsers of the flags can read them.
    fn scalar(&self, key: &str, value: &Value<'_>) -> Result<String, Mistake> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(_) | DeValue::Float(_) => {
                self.document.text.get(value.span()).unwrap_or_default().replace('_', "")
            }
            DeValue::Boolean(is_on) => is_on.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                let words = format!("{key}: is not a single value");
                return Err(self.mistake(value.span(), &words));
            }
        };
        if text.is_empty() {
            return Err(self.mistake(value.span(), &format!("{key}: is empty")));
        }
        Ok(text)
    }
}

/// A file does not stand in a folder of its own: its paths are whole.
fn check_path(setting: &Setting) -> Result<(), Mistake> {
    let path = setting.as_path();
    if path.is_absolute() {
        return Ok(());
    }
    let is_relative = "is not a whole path, which begins with /".to_owned();
    let is_of_shell = path.to_string_lossy().starts_with(['~', '$']);
    let reason = path::mistake(path).filter(|_| !is_of_shell);
    Err(setting.mistake(&reason.unwrap_or(is_relative)))
}

fn unknown_table(name: &str, is_table: bool) -> String {
    if !is_table {
        let hint =
            place_of(name).unwrap_or_else(|| "; keys stand in tables such as [cache]".into());
        return format!("{name}: no such key outside of tables{hint}");
    }
    let tables = tables().map(|(table, _)| table);
    let similar = similar(name, tables.chain(by_hand::NAMES));
    let similar = similar.map(|table| format!("; similar: {}", bracketed(table)));
    format!("[{name}]: no such table{}", similar.unwrap_or_default())
}

fn unknown_key(name: &str, table: &str, section: Section) -> String {
    let of_section = OPTIONS.iter().filter(|opt| opt.section == section).map(Opt::key);
    let others = PATHS.into_iter().chain(by_hand::NAMES);
    let others = others.filter(|_| table == "mount");
    let similar = similar(name, of_section.chain(others));
    let hint = place_of(name).or_else(|| similar.map(|key| format!("; similar: {key}")));
    format!("{name}: no such key in {}{}", bracketed(table), hint.unwrap_or_default())
}

/// Where an option belongs whose flag or key this is.
fn place_of(name: &str) -> Option<String> {
    let option = OPTIONS.iter().find(|opt| opt.name == name || opt.key() == name)?;
    let table = if option.section == Section::Mount { "mount" } else { option.section.table() };
    Some(format!("; it is {} in {}", option.key(), bracketed(table)))
}

fn bracketed(table: &str) -> String {
    let is_list = table == "mount" || by_hand::NAMES.contains(&table);
    if is_list { format!("[[{table}]]") } else { format!("[{table}]") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn mistake(text: &str) -> String {
        File::parse(Path::new("/f"), text).expect_err("a mistake").0
    }

    #[test]
    fn a_file_becomes_settings_with_their_lines() {
        let text = "[cache]\ndir = \"/c\"\nsize = \"200GiB\"\n\n[defaults]\nlabels = \"files\"\n\
                    umask = 0o027\n\n[[mount]]\nsource = \"/s\"\nmountpoint = \"/m\"\nuid = 1_000\n";
        let file = File::parse(Path::new("/f"), text).expect("valid");
        let shown =
            |settings: &[Setting]| -> Vec<String> { settings.iter().map(Setting::named).collect() };
        assert_eq!(shown(&file.settings), ["/f:2: dir = /c", "/f:3: size = 200GiB"]);
        assert_eq!(shown(&file.defaults), ["/f:6: labels = files", "/f:7: umask = 0o027"]);
        assert_eq!(file.mounts.len(), 1);
        let FileMount { source, mountpoint, settings, .. } = &file.mounts[0];
        assert_eq!(source.named(), "/f:10: source = /s");
        assert_eq!(mountpoint.named(), "/f:11: mountpoint = /m");
        assert_eq!(shown(settings), ["/f:12: uid = 1000"]);
        assert!(File::parse(Path::new("/f"), "").expect("valid").mounts.is_empty());
    }

    #[test]
    fn the_example_of_the_documents_has_every_key() {
        let document = include_str!("../../doc/CONFIGURATION.md");
        let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let file = File::parse(Path::new("/f"), example.expect("an example")).expect("valid");
        assert_eq!(file.mounts.len(), 3);
        let of_mounts = file.mounts.iter().flat_map(|mount| &mount.settings);
        let all = file.settings.iter().chain(&file.defaults).chain(of_mounts);
        let named: BTreeSet<&str> = all.map(|setting| setting.name).collect();
        assert_eq!(named, OPTIONS.iter().map(|option| option.name).collect());
    }

    /// Those that tests of the program show are not repeated here.
    #[test]
    fn mistakes_of_form() {
        for (text, line) in [
            (
                "labels = \"files\"\n",
                "/f:1: labels: no such key outside of tables; it is labels in [[mount]]",
            ),
            (
                "x = 1",
                "/f:1: x: no such key outside of tables; keys stand in tables such as [cache]",
            ),
            ("cache = 1", "/f:1: cache: write [cache]"),
            ("[mount]\nsource = \"/s\"", "/f:1: mount: write [[mount]], with two brackets"),
            ("mount = [1]", "/f:1: mount: write [[mount]]"),
            ("[resources]\nmemory = []", "/f:2: memory: is not a single value"),
            ("[log]\nformat = \"\"", "/f:2: format: is empty"),
            ("[log]\nformat = \"jsn\"", "/f:2: format = jsn: is none of text, json; similar: json"),
            ("[cache]\ndir = \"c\"", "/f:2: dir = c: is not a whole path, which begins with /"),
        ] {
            assert_eq!(mistake(text), line, "{text}");
        }
    }
}
