//! Access control lists of POSIX, counted in their narrowest reading.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

use crate::source::storage::interface::Access;

/// Largest access control list: the most that an extended attribute can hold (`xattr(7)`).
const ACL_BYTES: usize = 64 << 10;

/// Access with the access control list of an open file counted.
pub(super) fn narrowed(fd: &OwnedFd, access: Access) -> Access {
    // `fgetxattr` refuses a descriptor that was opened with `O_PATH`.
    let by_number = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let mut acl = [0; 512];
    let found = match acl_at(&by_number, &mut acl) {
        Err(Errno::RANGE) => {
            let mut acl = vec![0; ACL_BYTES];
            acl_at(&by_number, &mut acl).map(|len| narrowed_by(access, &acl[..len]))
        }
        other => other.map(|len| narrowed_by(access, &acl[..len])),
    };
    match found {
        Ok(narrowed) => narrowed,
        // There is none, or the file system knows none.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => access,
        // There may be one: without it, the group's bits may be its mask.
        Err(_) => Access { mode: access.mode & 0o700, ..access },
    }
}

fn acl_at(path: &str, acl: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::fs::getxattr(path, "system.posix_acl_access", acl)
}

/// Tags of the entries of a POSIX access control list, in its form as an extended attribute
/// (`linux/posix_acl_xattr.h`).
mod acl_tag {
    pub(super) const USER: u16 = 0x02;
    pub(super) const GROUP_OBJ: u16 = 0x04;
    pub(super) const GROUP: u16 = 0x08;
    pub(super) const MASK: u16 = 0x10;
}

/// Access with an access control list in its narrowest reading: a class has a right only if the
/// list grants it to the class and denies it to no user or group that is named. (Named users and groups
/// have no place in a mode; rights that the list alone gives to a user do not count here.)
///
/// `acl` is the value of `system.posix_acl_access`: a version, then entries of tag, rights and
/// number, little-endian. A list that cannot be parsed leaves the owner's rights only.
fn narrowed_by(access: Access, acl: &[u8]) -> Access {
    let owner = access.mode & 0o700;
    let Some((version, entries)) = acl.split_first_chunk::<4>() else {
        return Access { mode: owner, ..access };
    };
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !rest.is_empty() {
        return Access { mode: owner, ..access };
    }
    let (mut group, mut mask, mut named) = (0o7, 0o7, 0o7);
    for [tag_low, tag_high, rights, _, _, _, _, _] in entries {
        let rights = u32::from(*rights) & 0o7;
        match u16::from_le_bytes([*tag_low, *tag_high]) {
            acl_tag::USER | acl_tag::GROUP => named &= rights,
            acl_tag::GROUP_OBJ => group = rights,
            acl_tag::MASK => mask = rights,
            _ => {}
        }
    }
    // A mask limits the named users, so it limits everybody in this reading.
    let named = if named == 0o7 { 0o7 } else { named & mask };
    let group = group & mask & named;
    let other = access.mode & named & 0o7;
    Access { mode: owner | group << 3 | other, ..access }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn an_access_control_list_counts_in_its_narrowest_reading() {
        let narrowed = |mode, entries: &[(u16, u16, u32)]| {
            narrowed_by(Access { mode, uid: 1, gid: 2 }, &acl(entries)).mode
        };
        // `stat` shows the mask for the group: here rw-, while the group itself has nothing.
        let granted = [(1, 6, 0), (2, 4, 1000), (4, 0, 0), (0x10, 6, 0), (0x20, 0, 0)];
        assert_eq!(narrowed(0o660, &granted), 0o600, "who is named gains nothing for a class");
        let denied = [(1, 6, 0), (2, 0, 1000), (4, 4, 0), (0x10, 4, 0), (0x20, 4, 0)];
        assert_eq!(narrowed(0o644, &denied), 0o600, "who is denied may be in any class");
        let group_denied = [(1, 6, 0), (4, 4, 0), (8, 0, 50), (0x10, 4, 0), (0x20, 4, 0)];
        assert_eq!(narrowed(0o644, &group_denied), 0o600);
        let masked = [(1, 7, 0), (2, 5, 1000), (4, 7, 0), (0x10, 0, 0), (0x20, 5, 0)];
        assert_eq!(narrowed(0o705, &masked), 0o700, "the mask takes the rights of who is named");
        let plain = [(1, 6, 0), (2, 4, 9), (4, 4, 0), (0x10, 4, 0), (0x20, 4, 0)];
        assert_eq!(narrowed(0o644, &plain), 0o644);
    }

    #[test]
    fn a_list_that_cannot_be_parsed_leaves_the_owner() {
        let access = Access { mode: 0o755, uid: 1, gid: 2 };
        for bad in [&b""[..], b"\x02\0\0", b"\x03\0\0\0", b"\x02\0\0\0\x01\0\x07"] {
            assert_eq!(narrowed_by(access, bad).mode, 0o700, "{bad:?}");
        }
    }
}
