//! Writes what an installation has beside the program: pages of the manual, completions for shells, and a
//! configuration file to start from.
//!
//! ```text
//! cargo run --example pages FOLDER
//! ```

mod pages;

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::other("usage: pages FOLDER"))?;
    for (name, text) in pages::all()? {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}
