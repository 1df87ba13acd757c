//! The integration tests, one module for each subject; `doc/TESTING.md` says what is where.

mod by_hand;
mod cap;
mod changes;
mod cli;
mod codecs;
mod common;
mod compose;
mod control;
mod corpus;
mod damage;
mod disks;
mod export;
mod faults;
mod fidelity;
mod growing;
mod hostile;
mod kill;
mod load;
mod maker;
mod memo;
mod memory;
mod mount;
mod process;
mod reference;
mod shared_cache;
mod source;
