//! `smb.conf(5)`: sections with settings, those of `[global]` as the defaults of shares.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// Defaults of Samba 4.17 (`testparm -v`), for machines without `testparm`.
const DEFAULTS: [(&str, &str); 17] = [
    ("read only", "yes"),
    ("available", "yes"),
    ("oplocks", "yes"),
    ("level2 oplocks", "yes"),
    ("kernel oplocks", "no"),
    ("kernel share modes", "no"),
    ("posix locking", "yes"),
    ("strict locking", "auto"),
    ("ea support", "yes"),
    ("store dos attributes", "yes"),
    ("map archive", "yes"),
    ("nt acl support", "yes"),
    ("vfs objects", ""),
    ("fileid:algorithm", "fsname"),
    ("smb2 leases", "yes"),
    ("aio read size", "1"),
    ("path", ""),
];

/// Other names of settings, and whether they mean the opposite.
const SYNONYMS: [(&str, &str, bool); 6] = [
    ("writeable", "read only", true),
    ("writable", "read only", true),
    ("write ok", "read only", true),
    ("vfs object", "vfs objects", false),
    ("directory", "path", false),
    ("casesignames", "case sensitive", false),
];

/// Sections that are no shares of folders.
const OTHERS: [&str; 3] = ["global", "homes", "printers"];

type Section = BTreeMap<String, String>;

/// A configuration.
#[derive(Debug, Default)]
pub(super) struct Conf {
    sections: BTreeMap<String, Section>,
}

/// A share of a folder.
#[derive(Debug)]
pub(super) struct Share<'a> {
    pub(super) name: &'a str,
    own: &'a Section,
    global: Option<&'a Section>,
}

impl Conf {
    /// Reads a text. What stands before the first section, and what is no setting, is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut section = None;
        for line in joined(text) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                section = Some(conf.sections.entry(name.trim().to_owned()).or_default());
            } else if let (Some(section), Some((key, value))) = (&mut section, line.split_once('='))
            {
                let (key, value) = setting(key, value.trim());
                section.insert(key, value);
            }
        }
        conf
    }

    /// All shares of folders.
    pub(super) fn shares(&self) -> Vec<Share<'_>> {
        let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        let global = self.sections.iter().find(|(name, _)| is(name, "global"));
        let global = global.map(|(_, section)| section);
        let folders = self.sections.iter().filter(|(name, own)| {
            !OTHERS.iter().any(|other| is(name, other)) && own.contains_key("path")
        });
        folders.map(|(name, own)| Share { name, own, global }).collect()
    }
}

impl<'a> Share<'a> {
    /// The folder.
    pub(super) fn path(&self) -> &'a Path {
        Path::new(self.own.get("path").map_or("", String::as_str))
    }

    /// A setting: of the share, else of all shares, else the default. Words for yes and no are `yes` and `no`.
    pub(super) fn value(&self, key: &str) -> Cow<'a, str> {
        let given = self.own.get(key).or_else(|| self.global?.get(key));
        let given = given
            .map(String::as_str)
            .or_else(|| DEFAULTS.iter().find(|(known, _)| *known == key).map(|(_, value)| *value));
        plain(given.unwrap_or_default())
    }
}

/// Lines, where a backslash at the end joins the next one.
fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let (part, continues) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(part),
            None => lines.push(part.to_owned()),
        }
        goes_on = continues;
    }
    lines
}

/// A key in the one spelling that is used here, and its value.
fn setting(key: &str, value: &str) -> (String, String) {
    let words: Vec<String> = key.split_whitespace().map(str::to_lowercase).collect();
    let key = words.join(" ");
    match SYNONYMS.iter().find(|(other, ..)| *other == key) {
        Some((_, name, true)) => {
            let value = if plain(value) == "yes" { "no" } else { "yes" };
            ((*name).to_owned(), value.to_owned())
        }
        Some((_, name, false)) => ((*name).to_owned(), value.to_owned()),
        None => (key, value.to_owned()),
    }
}

/// A value in lower case, where it is a word for yes or no.
fn plain(value: &str) -> Cow<'_, str> {
    match value.to_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => "yes".into(),
        "no" | "false" | "off" => "no".into(),
        "auto" => "auto".into(),
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_their_own_settings_those_of_all_and_the_defaults() {
        let text = "stray = 1\n# c\n; c\n[global]\n  Posix  Locking = No\n[homes]\npath = /h\n\
                    [ims]\n\tpath = /srv/\\\nims\n writeable = True\n vfs objects = fileid \\\n  offline\n\
                    [print$]\n comment = no folder\n";
        let conf = Conf::parse(text);
        let shares = conf.shares();
        let [share] = &shares[..] else { panic!("one share: {shares:?}") };
        assert_eq!((share.name, share.path()), ("ims", Path::new("/srv/ims")));
        for (key, value) in [
            ("posix locking", "no"),
            ("read only", "no"),
            ("ea support", "yes"),
            ("strict locking", "auto"),
            ("vfs objects", "fileid   offline"),
            ("no such", ""),
        ] {
            assert_eq!(share.value(key), value, "{key}");
        }
    }

    #[test]
    fn zero_and_one_are_numbers_where_they_count() {
        let conf = Conf::parse("[x]\npath = /x\naio read size = 0\nread only = 1\n");
        let shares = conf.shares();
        assert_eq!(shares[0].value("aio read size"), "0");
        assert_eq!(shares[0].value("read only"), "yes");
    }
}
