//! The command line: messages, exit status, `--list`, `--help`, the documents, the demo. Every mistake
//! gives one line that names the flag, the variable or the argument, before anything is mounted.

mod config_file;
mod demo;
mod doctor;
mod documents;
mod install;
mod list;
mod make;
mod mistakes;
mod mounted;
mod pages;
mod rig;
