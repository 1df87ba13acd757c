//! Addresses of objects, as users write them.
//!
//! An address may hold secrets: a user and password, or a query with a signature. They are kept apart from
//! its text, which is for logs, errors and hashes.

use std::fmt;
use std::path::PathBuf;

/// Schemes, and the service that each stands for.
const SCHEMES: [(&str, Service); 8] = [
    ("s3", Service::S3),
    ("s3a", Service::S3),
    ("gs", Service::Gcs),
    ("az", Service::Azure),
    ("abfs", Service::Azure),
    ("abfss", Service::Azure),
    ("http", Service::Web),
    ("https", Service::Web),
];

/// What stands in the text of an address for a secret.
const HIDDEN: &str = "***";

/// The kind of service that has the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Amazon S3, and all that speak as it does.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A web server: it has files, and no listing.
    Web,
    /// A folder of this machine.
    Folder,
}

/// Where objects lie.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub(super) service: Service,
    /// Bucket or container; for a web server, the address up to the path.
    pub(super) host: String,
    /// Path of the folder without slashes at its ends; literal, but for a web server, where it is as in a URL.
    pub(super) prefix: String,
    pub(super) secret: Secret,
    /// The whole, without secrets.
    text: String,
}

/// The secret parts of an address, which are never shown.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Secret {
    /// `user:password`, percent-encoded.
    pub(super) user: Option<String>,
    /// The query of a URL, without the question mark.
    pub(super) query: Option<String>,
}

impl Address {
    /// Reads an address; `None` for a path of this machine.
    ///
    /// # Errors
    /// What is wrong with it. The text of the error holds no secret.
    #[must_use = "the address, or what is wrong with it"]
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (scheme, rest) = text.split_once("://")?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if scheme.is_empty() || !scheme.chars().all(is_scheme) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let known = SCHEMES.iter().find(|(name, _)| *name == scheme);
        let Some((_, service)) = known else {
            let schemes = "s3://, gs://, az://, http:// or https://";
            return Some(Err(format!(
                "{scheme}:// is not understood; an address begins with {schemes}"
            )));
        };
        Some(Self::of(&scheme, *service, rest))
    }

    /// The objects below a folder of this machine.
    #[must_use]
    pub fn of_folder(path: impl Into<PathBuf>) -> Self {
        let text = path.into().to_string_lossy().into_owned();
        let (prefix, secret) = (String::new(), Secret::default());
        Self { service: Service::Folder, host: text.clone(), prefix, secret, text }
    }

    fn of(scheme: &str, service: Service, rest: &str) -> Result<Self, String> {
        if rest.contains(char::is_control) {
            return Err("has a control character".to_owned());
        }
        let is_web = service == Service::Web;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) if is_web => (rest, Some(query.to_owned())),
            _ => (rest, None),
        };
        if is_web && rest.contains('#') {
            return Err("has a part behind #, which is never sent".to_owned());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if host.is_empty() {
            let what = if is_web { "host" } else { "bucket" };
            return Err(format!("names no {what}"));
        }
        let (host, user) = match (service, user) {
            (_, None) => (host.to_owned(), None),
            (Service::Web, Some(user)) => (host.to_owned(), Some(user.to_owned())),
            // `abfss://container@account.dfs.core.windows.net/`: no secret.
            (Service::Azure, Some(container)) if !container.contains(':') => {
                (authority.to_owned(), None)
            }
            (_, Some(_)) => {
                return Err(
                    "holds a user or password; credentials go into the environment".to_owned()
                );
            }
        };
        let prefix = path.trim_matches('/').to_owned();
        let is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if !prefix.is_empty() && prefix.split('/').any(is_odd) {
            return Err("has an empty part, \".\" or \"..\" in its path".to_owned());
        }
        let hidden = |is_there: bool, before: &str, after: &str| {
            if is_there { format!("{before}{HIDDEN}{after}") } else { String::new() }
        };
        let slash = if prefix.is_empty() { "" } else { "/" };
        let text = format!(
            "{scheme}://{}{host}{slash}{prefix}{}",
            hidden(user.is_some(), "", "@"),
            hidden(query.is_some(), "?", ""),
        );
        let host = if is_web { format!("{scheme}://{host}") } else { host };
        Ok(Self { service, host, prefix, secret: Secret { user, query }, text })
    }

    /// The kind of service.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// The last part of the path, as it is written.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.prefix.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// The address of the folder above; `None` for a whole bucket or host.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (name, end) = (self.name()?, self.text.rfind('?').unwrap_or(self.text.len()));
        let (head, query) = self.text.split_at(end);
        let head = head.strip_suffix(name)?.trim_end_matches('/');
        let prefix = self.prefix.strip_suffix(name)?.trim_end_matches('/').to_owned();
        Some(Self { prefix, text: format!("{head}{query}"), ..self.clone() })
    }

    /// The address of another place, as a text at this address states it: in full, from the root of the host, or
    /// from here. It gets the secrets of this one, unless it is in full.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn joined(&self, text: &str) -> Result<Self, String> {
        if let Some(address) = Self::parse(text) {
            return address;
        }
        let scheme = self.text.split_once("://").map_or("", |(scheme, _)| scheme);
        let host = self.host.rsplit_once("://").map_or(&*self.host, |(_, host)| host);
        let path = match text.strip_prefix('/') {
            Some(path) => path.to_owned(),
            None if self.prefix.is_empty() => text.to_owned(),
            None => format!("{}/{text}", self.prefix),
        };
        let Secret { user, query } = &self.secret;
        let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        Self::of(scheme, self.service, &format!("{user}{host}/{path}{query}"))
    }

    /// The last part of the path as a name, without the encoding of a URL.
    #[must_use]
    pub fn plain_name(&self) -> Option<String> {
        let name = self.name()?;
        Some(if self.service == Service::Web { percent_decoded(name) } else { name.to_owned() })
    }

    /// The address without secrets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Decodes percent-encoding (RFC 3986, section 2.1). A malformed one stays as it is.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let decoded =
            hex.filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text that may be an address, without the secrets of one.
#[must_use]
pub fn redacted(text: &str) -> String {
    match Address::parse(text) {
        None => text.to_owned(),
        Some(Ok(address)) => address.text,
        // Any part of it may be secret.
        Some(Err(_)) => {
            let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
            let end = rest.find(['?', '#']).unwrap_or(rest.len());
            let shown = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
            let mark = if shown.len() == rest.len() { "" } else { HIDDEN };
            format!("{scheme}://{shown}{mark}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        Address::parse(text).expect("an address").expect("a good one")
    }

    #[test]
    fn addresses_have_a_service_a_host_and_a_prefix() {
        for (text, service, host, prefix) in [
            ("s3://bucket", Service::S3, "bucket", ""),
            ("S3://bucket/", Service::S3, "bucket", ""),
            ("s3://bucket/a b/c%20d?e#f/", Service::S3, "bucket", "a b/c%20d?e#f"),
            ("gs://b/x", Service::Gcs, "b", "x"),
            ("az://c/x", Service::Azure, "c", "x"),
            ("abfss://c@a.dfs.core.windows.net/x", Service::Azure, "c@a.dfs.core.windows.net", "x"),
            ("https://host:8080/a/b.zarr/", Service::Web, "https://host:8080", "a/b.zarr"),
        ] {
            let address = parsed(text);
            assert_eq!(
                (address.service, &*address.host, &*address.prefix),
                (service, host, prefix)
            );
        }
    }

    #[test]
    fn no_text_holds_a_secret() {
        for (text, shown) in [
            ("https://ana:geheim@host/x?sig=geheim", "https://***@host/x?***"),
            ("https://geheim@host/x", "https://***@host/x"),
            ("https://host/x/?sig=geheim", "https://host/x?***"),
        ] {
            let address = parsed(text);
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("geheim"));
            assert_eq!(redacted(text), shown);
        }
        for text in
            ["s3://key:geheim@bucket/x", "s3://geheim@bucket", "ftp://ana:geheim@host/x?geheim"]
        {
            let mistake = Address::parse(text).expect("an address").expect_err("a bad one");
            assert!(!mistake.contains("geheim") && !redacted(text).contains("geheim"), "{mistake}");
        }
        assert_eq!(redacted("/data/a:b@c"), "/data/a:b@c");
        assert_eq!(redacted("s3://bucket/x/"), "s3://bucket/x");
    }

    #[test]
    fn what_is_no_address_and_what_is_a_bad_one() {
        for text in ["/data", "data", "C:\\data", "nas:/data", "/data/s3://x", "://x"] {
            assert!(Address::parse(text).is_none(), "{text}");
        }
        for text in [
            "ftp://host",
            "s3://",
            "s3:///x",
            "https:///x",
            "s3://b/a//b",
            "s3://b/../c",
            "s3://b/\n",
        ] {
            assert!(Address::parse(text).expect("an address").is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_in_a_text_are_relative_to_it_or_whole() {
        let folder = parsed("https://ana:geheim@host/a?sig=geheim");
        for (text, shown, query) in [
            ("b c.zarr", "https://***@host/a/b c.zarr?***", Some("sig=geheim")),
            ("/b.zarr", "https://***@host/b.zarr?***", Some("sig=geheim")),
            ("http://other/x", "http://other/x", None),
            ("s3://bucket/x", "s3://bucket/x", None),
        ] {
            let joined = folder.joined(text).expect("a good one");
            assert_eq!((joined.as_str(), joined.secret.query.as_deref()), (shown, query));
        }
        assert!(folder.joined("../x").is_err());
        assert_eq!(parsed("https://h/a%20b%zz").plain_name().as_deref(), Some("a b%zz"));
        assert_eq!(parsed("s3://h/a%20b").plain_name().as_deref(), Some("a%20b"));
    }

    #[test]
    fn an_address_has_a_name_and_a_folder_above() {
        let address = parsed("https://host/a/b.zarr?sig=geheim");
        let above = address.parent().expect("a");
        assert_eq!((address.name(), above.as_str()), (Some("b.zarr"), "https://host/a?***"));
        assert_eq!(above.secret.query.as_deref(), Some("sig=geheim"));
        let bucket = above.parent().expect("the host");
        assert_eq!((bucket.as_str(), bucket.name()), ("https://host?***", None));
        assert_eq!(bucket.parent(), None);
    }
}
