//! The daemon as a service that can be asked: a socket of its own, on which programs of this machine ask one line
//! at a time and get lines back.
//!
//! [`protocol`] has what can be asked, [`place`] where the sockets are, [`server`] the daemon's side, [`client`] the
//! side of the verbs. [`folder`] shows the same in the mount. What an answer says is the business of the daemon, which
//! gives an [`Answers`].
//!
//! The threads that talk to the kernel do nothing for it: each client has a thread of its own, at most
//! [`server::MOST_CLIENTS`] at a time, and each waits only so long.

pub(crate) mod client;
pub(crate) mod folder;
pub(crate) mod place;
pub(crate) mod protocol;
pub(crate) mod server;

pub(crate) use protocol::{Answers, Ask};
