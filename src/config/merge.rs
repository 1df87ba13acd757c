//! The origins of settings, laid over each other.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::by_hand::Tables;

use super::file::{File, FileMount};
use super::options::is_of_daemon;
use super::setting::{Mistake, Setting, Settings, plain};
use super::value::{LOG_FORMAT, LogFormat, parse_choice};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "/etc/zarrims/config.toml";

/// What the command line and the environment give.
#[derive(Debug, Clone)]
pub struct Given {
    /// The source folder.
    pub source: Option<Setting>,
    /// The mount point.
    pub mountpoint: Option<Setting>,
    /// All options.
    pub settings: Settings,
    /// The configuration file.
    pub file: Option<Setting>,
    /// A list takes no mount point.
    pub lists: bool,
}

/// All settings, each with its origin.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The file whose mounts these are, if they come from a file.
    pub file: Option<Arc<Path>>,
    /// Of the cache, the resources, the control socket and the log.
    pub settings: Settings,
    /// At least one.
    pub mounts: Vec<MergedMount>,
}

/// A mount with all its settings.
#[derive(Debug, Clone)]
pub struct MergedMount {
    /// The source folder.
    pub source: Setting,
    /// The mount point; none for a list of a folder.
    pub mountpoint: Option<Setting>,
    /// All options.
    pub settings: Settings,
    /// What is said of stores: for all mounts, then for this one.
    pub by_hand: Tables,
}

impl Given {
    /// Makes all paths whole, for a program that leaves the current folder and reads them again.
    #[must_use]
    pub fn leaving_folder(mut self) -> Self {
        let Self { source, mountpoint, settings, file, .. } = &mut self;
        source.iter_mut().chain(mountpoint).chain(file).for_each(Setting::leave_folder);
        settings.leave_folder();
        self
    }

    /// Reads the file and lays what is given over it. SOURCE and MOUNTPOINT take the place of the mounts
    /// of the file.
    ///
    /// # Errors
    /// What is wrong by itself, whatever machine this is.
    pub fn merge(self) -> Result<Merged, Mistake> {
        let file = self.read_file()?;
        self.merge_with(file.as_ref())
    }

    /// As [`Given::merge`]; `None` where nobody names anything to mount.
    ///
    /// # Errors
    /// As for [`Given::merge`].
    pub fn merge_if_any(self) -> Result<Option<Merged>, Mistake> {
        let file = self.read_file()?;
        if self.source.is_none() && file.as_ref().is_none_or(File::is_empty) {
            return Ok(None);
        }
        self.merge_with(file.as_ref()).map(Some)
    }

    /// The file that is named, or the usual one, if there is one.
    fn read_file(&self) -> Result<Option<File>, Mistake> {
        let usual = Path::new(DEFAULT_FILE);
        let (path, name) = match &self.file {
            Some(named) => (named.as_path(), named.named()),
            None if usual.exists() => (usual, DEFAULT_FILE.to_owned()),
            None => return Ok(None),
        };
        let text = fs::read_to_string(path);
        let text = text.map_err(|error| Mistake(format!("{name}: {}", plain(&error))))?;
        File::parse(path, &text).map(Some)
    }

    /// As [`Given::merge`], with the content of the file.
    ///
    /// # Errors
    /// As for [`Given::merge`].
    pub fn merge_with(self, file: Option<&File>) -> Result<Merged, Mistake> {
        let none = Vec::new();
        let (settings, defaults, mounts) = match file {
            Some(file) => (&file.settings, &file.defaults, &file.mounts),
            None => (&none, &none, &Vec::new()),
        };
        let for_all = file.map(|file| file.by_hand.clone()).unwrap_or_default();
        let by_hand = |mount: &FileMount| {
            let mut all = for_all.clone();
            all.extend(&mount.by_hand);
            all
        };
        let all = self.settings.clone().or(settings);
        let of_file = |mount: &FileMount| MergedMount {
            source: mount.source.clone(),
            mountpoint: Some(mount.mountpoint.clone()),
            settings: all.clone().or(&mount.settings).or(defaults),
            by_hand: by_hand(mount),
        };
        let (mounts, file) = match (&self.source, &self.mountpoint) {
            (Some(source), mountpoint) if self.lists || mountpoint.is_some() => {
                let settings = all.clone().or(defaults);
                let (source, mountpoint) = (source.clone(), mountpoint.clone());
                let by_hand = for_all.clone();
                (vec![MergedMount { source, mountpoint, settings, by_hand }], None)
            }
            (None, None) if !mounts.is_empty() => {
                (mounts.iter().map(of_file).collect(), file.map(|file| file.path.clone()))
            }
            _ => return Err(Mistake(self.missing(file))),
        };
        Ok(Merged { file, settings: all, mounts })
    }

    /// What is missing where there is nothing to mount or to list.
    fn missing(&self, file: Option<&File>) -> String {
        const SEE_HELP: &str = "see --help";
        let missing = match (self.lists, &self.source) {
            (true, _) => "SOURCE is",
            (false, None) => "SOURCE and MOUNTPOINT are",
            (false, Some(_)) => "MOUNTPOINT is",
        };
        match file {
            Some(file) if self.source.is_none() && !file.is_empty() => {
                let file = file.path.display();
                format!("{file}: has no [[mount]], and {missing} missing; {SEE_HELP}")
            }
            _ => format!("{missing} missing; {SEE_HELP}"),
        }
    }
}

impl MergedMount {
    /// Whether it is the same mount, whatever lines its settings stand in.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let said = |mount: &Self| -> Vec<(String, String)> {
            let Tables { stores, views } = &mount.by_hand;
            let of_stores = stores.iter().flat_map(|table| &table.lines);
            let lines = of_stores.chain(views.iter().flat_map(|table| &table.lines));
            lines.map(|line| (line.key.clone(), line.value.clone())).collect()
        };
        let path = |setting: &Option<Setting>| setting.as_ref().and_then(|path| path.text.clone());
        self.source.text == other.source.text
            && path(&self.mountpoint) == path(&other.mountpoint)
            && self.settings.differences(&other.settings).into_iter().all(is_of_daemon)
            && said(self) == said(other)
    }
}

impl Merged {
    /// The filter of the log, where one is set.
    #[must_use]
    pub fn log_filter(&self) -> Option<&str> {
        self.settings.get("log-filter").text.as_ref()?.to_str()
    }

    /// The file of the log, where there is one.
    #[must_use]
    pub fn log_file(&self) -> Option<&Setting> {
        Some(self.settings.get("log-file")).filter(|setting| setting.text.is_some())
    }

    /// The form of the log.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        let found = self.settings.value("log-format", |text| parse_choice(&LOG_FORMAT, text));
        // Each origin has been checked.
        found.ok().flatten().unwrap_or(LogFormat::Text)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::setting::Origin;

    const FILE: &str = "[cache]\nsize = \"1GiB\"\n[resources]\nthreads = 3\nmemory = \"64MiB\"\n\
        [defaults]\npyramid = \"imaris\"\nlabels = \"files\"\numask = \"022\"\n\
        [[mount]]\nsource = \"/s/a\"\nmountpoint = \"/m/a\"\npyramid = \"source\"\n\
        [[mount]]\nsource = \"/s/b\"\nmountpoint = \"/m/b\"\nlabels = \"hide\"\nuid = 5\n";

    fn file() -> File {
        File::parse(Path::new("/f.toml"), FILE).expect("valid")
    }

    /// Flags and variables; an argument without an option is SOURCE or MOUNTPOINT.
    fn given(flags: &[(&str, &str)], variables: &[(&str, &str)], paths: &[&str]) -> Given {
        let find = |all: &[(&str, &str)], name: &str| {
            all.iter().find(|(known, _)| *known == name).map(|(_, text)| OsString::from(text))
        };
        let settings = Settings::new(|option| {
            let flag = find(flags, option.name).map(|text| (text, Origin::Flag));
            flag.or_else(|| find(variables, option.name).map(|text| (text, Origin::Variable)))
        });
        let path = |number: usize, name: &'static str| {
            let path = paths.get(number)?;
            Some(Setting::path(name, OsString::from(path), Origin::Argument))
        };
        let (source, mountpoint) = (path(0, "source"), path(1, "mountpoint"));
        Given { source, mountpoint, settings, file: None, lists: false }
    }

    fn named(settings: &Settings, names: &[&str]) -> Vec<String> {
        names.iter().map(|name| settings.get(name).named()).collect()
    }

    #[test]
    fn flag_over_variable_over_mount_over_defaults_over_the_program() {
        let given = given(&[("threads", "9")], &[("memory", "1GiB"), ("umask", "077")], &[]);
        let merged = given.merge_with(Some(&file())).expect("valid");
        assert_eq!(
            named(&merged.settings, &["threads", "memory", "cache-size", "min-free"]),
            ["--threads 9", "ZARRIMS_MEMORY=1GiB", "/f.toml:2: size = 1GiB", "--min-free 5%"]
        );
        let names = ["pyramid", "labels", "umask", "uid", "int16"];
        let mounts: Vec<_> =
            merged.mounts.iter().map(|mount| named(&mount.settings, &names)).collect();
        let first = [
            "/f.toml:13: pyramid = source",
            "/f.toml:8: labels = files",
            "ZARRIMS_UMASK=077",
            "--uid",
            "--int16 float32",
        ];
        let second = [
            "/f.toml:7: pyramid = imaris",
            "/f.toml:17: labels = hide",
            "ZARRIMS_UMASK=077",
            "/f.toml:18: uid = 5",
            "--int16 float32",
        ];
        assert_eq!(mounts, [first, second]);
        assert_eq!(merged.file.as_deref(), Some(Path::new("/f.toml")));
    }

    #[test]
    fn source_and_mountpoint_take_the_place_of_the_mounts_of_the_file() {
        let merged = given(&[], &[], &["/s", "/m"]).merge_with(Some(&file())).expect("valid");
        let [mount] = &merged.mounts[..] else { panic!("one mount: {merged:?}") };
        assert_eq!(mount.source.named(), "SOURCE /s");
        assert_eq!(named(&mount.settings, &["pyramid"]), ["/f.toml:7: pyramid = imaris"]);
        assert_eq!(merged.file, None);
    }

    #[test]
    fn nothing_to_mount() {
        let empty = File::parse(Path::new("/dev/null"), "").expect("valid");
        let text = "[cache]\nsize = \"1GiB\"\n";
        let mountless = File::parse(Path::new("/f.toml"), text).expect("valid");
        let lists = |given: Given| Given { lists: true, ..given };
        for (given, file, line) in [
            (given(&[], &[], &[]), None, "SOURCE and MOUNTPOINT are missing; see --help"),
            (given(&[], &[], &["/s"]), None, "MOUNTPOINT is missing; see --help"),
            (given(&[], &[], &["/s"]), Some(&file()), "MOUNTPOINT is missing; see --help"),
            (lists(given(&[], &[], &[])), None, "SOURCE is missing; see --help"),
            (lists(given(&[], &[], &[])), Some(&empty), "SOURCE is missing; see --help"),
            (
                given(&[], &[], &[]),
                Some(&mountless),
                "/f.toml: has no [[mount]], and SOURCE and MOUNTPOINT are missing; see --help",
            ),
        ] {
            assert_eq!(given.merge_with(file).expect_err("nothing").0, line);
        }
    }
}
