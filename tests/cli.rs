//! The command line: messages, exit status, `--list`, `--help`, the documents, the demo. Whatever is wrong
//! is told in one line that names the flag, the variable or the argument, before anything is mounted.

mod common;

#[path = "cli/config_file.rs"]
mod config_file;
#[path = "cli/demo.rs"]
mod demo;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/list.rs"]
mod list;
#[path = "cli/make.rs"]
mod make;
#[path = "cli/mistakes.rs"]
mod mistakes;
#[path = "cli/mounted.rs"]
mod mounted;
#[path = "cli/rig.rs"]
mod rig;
