//! Folders for command lines, and command lines that must be refused.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::command;
use crate::common::mount::is_mounted;
use crate::common::tiny::Tiny;

/// A command line that should have been refused mounts instead and does not return.
const LIMIT: Duration = Duration::from_secs(20);

struct Line {
    variables: Vec<(String, String)>,
    args: Vec<String>,
}

/// A source with one store, an empty mount point, a cache folder.
pub(crate) struct Folders {
    pub(crate) folder: TempDir,
}

impl Folders {
    pub(crate) fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-cli-").expect("a temporary folder");
        Tiny::default().write(&folder.path().join("source/a.ome.zarr"));
        for name in ["mount", "cache", "full", "empty", "source/inside"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        fs::write(folder.path().join("full/file"), b"").expect("a file");
        fs::write(folder.path().join("file"), b"").expect("a file");
        Self { folder }
    }

    /// Words of a command line, behind variables of the environment. `@` stands for the temporary folder and
    /// `''` for an empty word.
    fn line(&self, words: &str) -> Line {
        let words: Vec<String> = words.split_whitespace().map(|word| self.expand(word)).collect();
        let is_variable = |word: &&String| word.starts_with("ZARRIMS_");
        let (variables, args): (Vec<_>, Vec<_>) = words.iter().partition(is_variable);
        let pair = |word: &String| word.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
        Line {
            variables: variables.into_iter().filter_map(pair).collect(),
            args: args
                .into_iter()
                .map(|word| if word == "''" { String::new() } else { word.clone() })
                .collect(),
        }
    }

    /// A text in which `@` stands for the temporary folder.
    pub(crate) fn expand(&self, text: &str) -> String {
        text.replace('@', &format!("{}/", self.folder.path().display()))
    }

    pub(crate) fn mounted(&self) -> bool {
        ["mount", "source", "full", "empty", "source/inside"]
            .iter()
            .any(|name| is_mounted(&self.folder.path().join(name)))
    }
}

/// Runs a command line that must be refused; one that mounts is ended by its own process.
pub(crate) fn refused(words: &str, folders: &Folders) -> Output {
    let line = folders.line(words);
    let mut child = command(&[])
        .args(line.args)
        .envs(line.variables)
        // Where a relative path that is not refused makes a folder, it is seen.
        .current_dir(folders.folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .expect("the child is not yet reaped");
    let (done, ended) = mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Fails only when it has ended just now.
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::TERM);
        }
    });
    let mut stderr = Vec::new();
    if let Some(pipe) = child.stderr.as_mut() {
        std::io::Read::read_to_end(pipe, &mut stderr).expect("a pipe");
    }
    let output = child.wait_with_output().expect("the child is ours");
    drop(done);
    guard.join().expect("the guard ends");
    Output { stderr, ..output }
}

/// All paths below a folder.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("a name").path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}
