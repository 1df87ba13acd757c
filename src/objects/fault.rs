//! What can go wrong with a request, sorted once, in words without addresses and credentials.

use std::fmt;
use std::io;

use object_store::client::HttpErrorKind;
use thiserror::Error;

use super::watch::Seen;

/// What the client calls folders of this machine, which need no credentials.
const FOLDERS: &str = "LocalFileSystem";

/// Kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such object.
    Absent,
    /// There is no such bucket, or container.
    NoBucket,
    /// The credentials do not allow it.
    Forbidden,
    /// The credentials are wrong or expired, or there are none.
    Credentials,
    /// The service is overloaded or out of order, and said so.
    Busy,
    /// The service cannot be reached.
    Unreachable,
    /// The time for the call has passed.
    TooSlow,
    /// The answer ended before its end.
    Cut,
    /// The object changed while it was read.
    Changed,
    /// The server sends whole objects where a part was asked for, or another part.
    NoRanges,
    /// The object is shorter than the part that was asked for.
    Short,
    /// The service has no listing.
    NoListing,
    /// The server sends the object compressed, or a web page in its place.
    Disguised,
    /// Anything else.
    Other,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", self.text())]
pub struct ObjectError {
    /// The kind.
    pub fault: Fault,
    /// What the service says, without anything secret.
    pub detail: String,
}

impl Fault {
    /// Whether it concerns the service as a whole, and may pass.
    #[must_use]
    pub fn is_outage(self) -> bool {
        self.may_pass() || matches!(self, Self::Credentials | Self::NoBucket)
    }

    /// Whether another try may have another outcome soon.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Busy | Self::Unreachable | Self::TooSlow | Self::Cut)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "no such object",
            Self::NoBucket => "no such bucket",
            Self::Forbidden => "access denied",
            Self::Credentials => "the credentials are missing, wrong or expired",
            Self::Busy => "the service is overloaded or out of order",
            Self::Unreachable => "the service cannot be reached",
            Self::TooSlow => "no answer in time",
            Self::Cut => "the answer was cut short",
            Self::Changed => "the object changed while it was read",
            Self::NoRanges => "the server does not send parts of a file",
            Self::Short => "the object is shorter than expected",
            Self::NoListing => "a web server has no listing",
            Self::Disguised => "the server sends something else than the file",
            Self::Other => "the request failed",
        })
    }
}

impl ObjectError {
    pub(super) fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into() }
    }

    fn text(&self) -> String {
        match &*self.detail {
            "" => self.fault.to_string(),
            detail => format!("{} ({detail})", self.fault),
        }
    }

    /// What went wrong, by what the watch over the requests has seen. `error` is not shown: it may hold
    /// addresses, and the whole body of an answer.
    pub(super) fn of(error: &object_store::Error, seen: &Seen) -> Self {
        if let Some(disguise) = seen.disguise {
            return Self::new(Fault::Disguised, disguise);
        }
        if let Some(kind) = seen.transport {
            return Self::of_transport(kind);
        }
        match (seen.status, error) {
            (Some(status), _) if !(200..300).contains(&status) => Self::of_status(status, seen),
            (Some(200), _) if seen.asked_for_part => Self::new(Fault::NoRanges, ""),
            // No request was made: that of a credential failed.
            (None, object_store::Error::Generic { store, .. }) if *store != FOLDERS => {
                Self::new(Fault::Credentials, "")
            }
            (None, object_store::Error::NotFound { .. }) => Self::new(Fault::Absent, ""),
            (None, object_store::Error::NotImplemented { .. }) => Self::new(Fault::NoListing, ""),
            (None, _) => Self::new(Fault::Other, ""),
            (Some(206), _) => Self::new(Fault::NoRanges, "another part than the one asked for"),
            (Some(_), _) => Self::new(Fault::Other, "the answer is not understood"),
        }
    }

    fn of_transport(kind: HttpErrorKind) -> Self {
        match kind {
            HttpErrorKind::Connect => Self::new(Fault::Unreachable, "no connection"),
            HttpErrorKind::Timeout => Self::new(Fault::TooSlow, ""),
            HttpErrorKind::Request | HttpErrorKind::Interrupted => Self::new(Fault::Cut, ""),
            _ => Self::new(Fault::Unreachable, "the connection failed"),
        }
    }

    fn of_status(status: u16, seen: &Seen) -> Self {
        let code = seen.code.as_deref().unwrap_or_default();
        let fault = match (status, code) {
            (_, "NoSuchBucket" | "ContainerNotFound") => Fault::NoBucket,
            (_, "SlowDown" | "RequestTimeout" | "InternalError" | "ServerBusy") => Fault::Busy,
            (
                _,
                "ExpiredToken"
                | "InvalidAccessKeyId"
                | "InvalidToken"
                | "SignatureDoesNotMatch"
                | "TokenRefreshRequired"
                | "AuthenticationFailed"
                | "RequestTimeTooSkewed",
            )
            | (401, _) => Fault::Credentials,
            (403, _) => Fault::Forbidden,
            (404 | 410, _) => Fault::Absent,
            (408 | 429 | 500..=599, _) => Fault::Busy,
            (412, _) => Fault::Changed,
            (416, _) => Fault::Short,
            _ => Fault::Other,
        };
        let mut detail = format!("HTTP {status}");
        if !code.is_empty() {
            detail = format!("{detail} {code}");
        }
        if let Some(region) = &seen.region
            && (300..=400).contains(&status)
        {
            detail = format!("{detail}: the bucket is in the region {region}; see --region");
        }
        Self::new(fault, detail)
    }
}

/// The reason stays inside: see [`ObjectError::reason_of`].
impl From<ObjectError> for io::Error {
    fn from(error: ObjectError) -> Self {
        let kind = match error.fault {
            Fault::Absent => io::ErrorKind::NotFound,
            Fault::Forbidden | Fault::Credentials => io::ErrorKind::PermissionDenied,
            Fault::TooSlow => io::ErrorKind::TimedOut,
            Fault::NoListing => io::ErrorKind::Unsupported,
            Fault::Short => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl ObjectError {
    /// The fault behind an error, if it is one of a request.
    #[must_use]
    pub fn reason_of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}
