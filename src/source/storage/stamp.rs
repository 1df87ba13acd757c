//! The state of a file of a source, as its storage sees it.

use std::fmt;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_128;

/// What identifies the state of one file: enough to notice a rewrite, a replacement, a growth. Two stamps
/// of one path are equal if nothing has changed between them, provided that the first had
/// [settled](Stamp::is_settled).
///
/// Only the storage that built a stamp knows what its identity means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// A number of 128 bits. Two of 64 take less room: there is a stamp for each metadata file of each store.
    identity: [u64; 2],
    /// In bytes.
    size: u64,
    /// Time of last modification: seconds since the epoch, and nanoseconds within the second.
    modified_s: i64,
    modified_ns: u32,
    /// Time of the last change in nanoseconds since the epoch, by the clock of the storage.
    changed_ns: i64,
    /// Milliseconds until a later change is guaranteed a different time.
    settles_ms: u32,
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn halves(number: u128) -> [u64; 2] {
    [(number >> 64) as u64, number as u64]
}

fn whole([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

impl Stamp {
    /// The state of a file whose changes have times. `identity` differs for another file at the same path;
    /// `settles` is the time after which a change is guaranteed another `changed_ns`.
    #[must_use]
    pub fn of_clock(
        identity: u128,
        size: u64,
        (modified_s, modified_ns): (i64, u32),
        changed_ns: i64,
        settles: Duration,
    ) -> Self {
        let settles_ms = u32::try_from(settles.as_millis()).unwrap_or(u32::MAX);
        let identity = halves(identity);
        Self { identity, size, modified_s, modified_ns, changed_ns, settles_ms }
    }

    /// The state of a file whose storage names each version: a hash of an `ETag` or a checksum, for
    /// example. It has settled from the start.
    #[must_use]
    pub fn of_version(version: u128, size: u64, modified: SystemTime) -> Self {
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let modified_s = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let (identity, modified_ns) = (halves(version), since.subsec_nanos());
        Self { identity, size, modified_s, modified_ns, changed_ns: i64::MIN, settles_ms: 0 }
    }

    /// The state of a part of this file, which changes whenever the file does. `part` tells parts apart.
    pub(super) fn within(&self, part: u128, size: u64) -> Self {
        let all = [whole(self.identity), self.size.into(), part].map(u128::to_le_bytes).concat();
        Self { identity: halves(xxh3_128(&all)), size, ..*self }
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Time of last modification.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        let (seconds, nanoseconds) = (self.modified_s, self.modified_ns);
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let base = if seconds < 0 { epoch.checked_sub(whole) } else { epoch.checked_add(whole) };
        base.unwrap_or(epoch) + Duration::from_nanos(u64::from(nanoseconds))
    }

    /// Time since the last change, by the clock of this machine; none if that lies ahead.
    pub(in crate::source) fn age(&self, now: SystemTime) -> Duration {
        let changed_ns = u64::try_from(self.changed_ns).unwrap_or_default();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_nanos(changed_ns);
        now.duration_since(changed.max(self.modified())).unwrap_or_default()
    }

    /// Whether the last change came after that of another file of the same storage.
    pub(in crate::source) fn is_newer_than(&self, other: &Self) -> bool {
        self.changed_ns > other.changed_ns
    }

    /// Nanoseconds from `now_ns` until a later change is guaranteed a different stamp; not positive where
    /// that is so already.
    pub(in crate::source) fn settles_after_ns(&self, now_ns: i64) -> i64 {
        let settles_ns = i64::from(self.settles_ms) * 1_000_000;
        self.changed_ns.saturating_add(settles_ns).saturating_sub(now_ns)
    }

    /// Whether a later change is guaranteed a different stamp by now.
    pub(in crate::source) fn is_settled(&self) -> bool {
        self.settles_after_ns(now_ns()) <= 0
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let stamp = Self {
            identity: halves(parts.next()?.parse().ok()?),
            size: parts.next()?.parse().ok()?,
            modified_s: parts.next()?.parse().ok()?,
            modified_ns: parts.next()?.parse().ok()?,
            changed_ns: parts.next()?.parse().ok()?,
            settles_ms: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(stamp)
    }
}

/// All of the stamp as a short text, to be stored and hashed: equal stamps have equal texts, others have
/// others.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, size, modified_s, modified_ns, changed_ns, settles_ms } = self;
        let identity = whole(*identity);
        write!(f, "{identity} {size} {modified_s} {modified_ns} {changed_ns} {settles_ms}")
    }
}

/// What a look at a path has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// There is no such name.
    Absent,
    /// A file or folder in this state.
    Present(Stamp),
    /// The look failed.
    Unreadable,
}

impl Seen {
    /// The state, if there is one.
    #[must_use]
    pub fn stamp(self) -> Option<Stamp> {
        match self {
            Self::Present(stamp) => Some(stamp),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

impl From<Option<Stamp>> for Seen {
    fn from(stamp: Option<Stamp>) -> Self {
        stamp.map_or(Self::Absent, Self::Present)
    }
}

/// Nanoseconds since 1970-01-01, by the clock of this machine.
pub(in crate::source) fn now_ns() -> i64 {
    since_epoch_ns(SystemTime::now())
}

/// Nanoseconds since 1970-01-01, as far as 64 bits hold them.
pub(in crate::source) fn since_epoch_ns(time: SystemTime) -> i64 {
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_from_its_text() {
        let millis = Duration::from_millis(50);
        let stamps = [
            Stamp::of_clock(u128::MAX, u64::MAX, (i64::MIN, 999_999_999), -1, millis),
            Stamp::of_clock(1, 2, (3, 4), 5, millis),
            Stamp::of_version(7, 8, SystemTime::UNIX_EPOCH + millis),
        ];
        for stamp in stamps {
            assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp));
        }
        for text in ["", "1 2 3 4 5", "1 2 3 4 5 6 7", "1 2 3 4 5 x", "-1 2 3 4 5 6"] {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_stamp_settles_some_time_after_the_change() {
        let stamp = Stamp::of_clock(1, 2, (3, 4), 1_000_000_000, Duration::from_millis(50));
        assert_eq!(stamp.settles_after_ns(1_000_000_000), 50_000_000);
        assert_eq!(stamp.settles_after_ns(1_060_000_000), -10_000_000);
        let version = Stamp::of_version(7, 8, SystemTime::now());
        assert!(version.settles_after_ns(0) <= 0 && version.is_settled());
        assert!(stamp.is_newer_than(&version));
    }

    #[test]
    fn times_before_1970_are_told() {
        let stamp = Stamp::of_clock(1, 2, (-2, 500_000_000), 0, Duration::ZERO);
        let modified = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(stamp.modified(), modified);
    }
}
