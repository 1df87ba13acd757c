//! How the daemon is asked and steered.

use std::fs;

use super::checked::{ControlConfig, SocketPlace};
use super::setting::{Mistake, Settings};
use super::value::{Group, parse_group, parse_listen, parse_socket};

/// Where the groups of this machine are (`group(5)`).
const GROUPS: &str = "/etc/group";

/// # Errors
/// What is wrong with the settings.
pub(super) fn check(settings: &Settings) -> Result<ControlConfig, Mistake> {
    let socket = match settings.value("socket", parse_socket)? {
        None => SocketPlace::Usual,
        Some(None) => SocketPlace::Nowhere,
        Some(Some(path)) => SocketPlace::At(path),
    };
    let group = match settings.value("socket-group", parse_group)? {
        None => None,
        Some(Group::Number(number)) => Some(number),
        Some(Group::Name(name)) => {
            let groups = fs::read_to_string(GROUPS).unwrap_or_default();
            let missing = || settings.get("socket-group").mistake("is no group of /etc/group");
            Some(number_of(&groups, &name).ok_or_else(missing)?)
        }
    };
    let listen = settings.value("listen", parse_listen)?;
    Ok(ControlConfig { socket, group, listen })
}

/// The number of a group: `NAME:PASSWORD:NUMBER:MEMBERS` is a line.
fn number_of(groups: &str, name: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let is_it = fields.next() == Some(name);
        is_it.then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_numbers() {
        let groups = "root:x:0:\nstaff:x:50:a,b\nbad\n";
        assert_eq!(number_of(groups, "staff"), Some(50));
        assert_eq!(number_of(groups, "sta"), None);
        assert_eq!(number_of(groups, "bad"), None);
    }
}
