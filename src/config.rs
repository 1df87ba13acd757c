//! The configuration: flags, environment variables and a file, merged into values that have been checked.
//!
//! [`options`] is the table of all options; [`setting`] holds values as text with their origin, [`file`]
//! reads the file, [`merge`] lays the origins over each other (flag over variable over file over default),
//! [`print`] writes the result as a file, [`example`] a file to start from, and [`resolve`] turns it into a [`Config`] by a look
//! at the machine, as [`parts`] does for each part by itself. Every mistake is found before anything is mounted, and reported in one line that names
//! the flag, the variable, or the line of the file.

mod cache_dir;
pub mod checked;
mod control;
mod example;
pub mod file;
pub mod merge;
pub mod options;
mod pairs;
mod parts;
mod path;
mod print;
mod resolve;
pub mod setting;
mod shared_cache;
pub mod source;
mod value;

pub use checked::{
    CacheSettings, Config, ControlConfig, MountConfig, Names, Resources, SocketPlace,
};
pub use example::example;
pub use file::File;
pub use merge::{DEFAULT_FILE, Given, Merged, MergedMount};
pub use options::{OPTIONS, Opt, is_of_daemon};
pub use parts::{Parts, memory_of_machine};
pub use resolve::{Purpose, ServedPoint};
pub use setting::{Mistake, Origin, Setting, Settings};
pub use value::LogFormat;
