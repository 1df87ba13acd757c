//! A server, the folder that it serves, and mounts of it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::common::mount::{Mount, Refused};
use crate::common::server::{Kind, Server};

pub(crate) struct Remote {
    pub(crate) folder: TempDir,
    pub(crate) server: Server,
}

impl Remote {
    pub(crate) fn new(kind: Kind, write: impl FnOnce(&Path)) -> Self {
        let folder = TempDir::with_prefix("zarrims-remote-").expect("a temporary folder");
        write(folder.path());
        let server = Server::start(kind, folder.path());
        Self { folder, server }
    }

    #[track_caller]
    pub(crate) fn mount(&self, source: &str, args: &[&str]) -> Mount {
        match self.try_mount(source, args) {
            Ok(mount) => mount,
            Err(refused) => panic!("not mounted: {:#?}", refused.stderr),
        }
    }

    pub(crate) fn try_mount(&self, source: &str, args: &[&str]) -> Result<Mount, Refused> {
        let url = self.server.url();
        let starter =
            Mount::of(Path::new(source)).args(["--anonymous", "--endpoint", url.as_str()]);
        starter.args(args).try_start()
    }
}

/// The paths of all files below a folder, sorted.
pub(crate) fn file_names(top: &Path) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), vec![top.to_path_buf()]);
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("a name").path();
            if path.is_dir() {
                pending.push(path);
            } else {
                let inside = path.strip_prefix(top).expect("below");
                found.push(inside.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
