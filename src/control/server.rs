//! The daemon's side of its control socket.
//!
//! A slow or hostile client holds up nobody: it has a thread, and a time for each line.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::place;
use super::protocol::{Answers, Ask, LONGEST_REQUEST, Line};

/// Most clients at a time.
pub(crate) const MOST_CLIENTS: usize = 64;

/// Clients that may wait to be taken on.
const BACKLOG: i32 = 32;

/// How long a client may take for a request, and for taking a line of the answer.
const LINE_TIME: Duration = Duration::from_secs(10);

/// Pause after a client that could not be taken on, as when descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the socket is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// `None`: the usual place.
    pub(crate) path: Option<PathBuf>,
    /// Users of this group may ask, too.
    pub(crate) group: Option<u32>,
}

/// A control socket, which is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    /// Device and inode: at its path there may be another one by the end.
    id: (u64, u64),
}

impl Server {
    /// Makes the socket, and answers from now on.
    ///
    /// # Errors
    /// Why it cannot be made, with its path.
    pub(crate) fn start(wanted: &Wanted, answers: Arc<dyn Answers>) -> Result<Self, String> {
        let path = match &wanted.path {
            Some(path) => path.clone(),
            None => place::own_socket().map_err(|error| error.to_string())?,
        };
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        if wanted.path.is_none() {
            place::remove_stale(&path);
        }
        if place::is_stale(&path) {
            fs::remove_file(&path).map_err(failed)?;
        }
        let listener = listen(&path, wanted.group).map_err(failed)?;
        let made = fs::symlink_metadata(&path).map_err(failed)?;
        let serve = move || serve(&listener, &answers);
        thread::Builder::new().name("control".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { id: (made.dev(), made.ino()), path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.id) {
            // Nothing depends on it: who comes later finds nobody listening.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket that only its user, or the group as well, may connect to, from its first moment on.
fn listen(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux makes the file with the mode of the socket.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    if let Some(group) = group {
        rustix::fs::chown(path, None, Some(Gid::from_raw(group)))?;
        rustix::fs::chmod(path, Mode::from_raw_mode(0o660))?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Takes clients on for ever.
fn serve(listener: &UnixListener, answers: &Arc<dyn Answers>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            thread::sleep(PAUSE);
            continue;
        };
        let place = Place::take(&clients);
        let answers = answers.clone();
        let talk = move || match place {
            Some(_place) => talk(&stream, &*answers),
            None => drop(send(&stream, &Line::Error("too many clients; try again".to_owned()))),
        };
        if let Err(error) = thread::Builder::new().name("client".to_owned()).spawn(talk) {
            tracing::debug!(%error, "a client of the control socket is not answered");
        }
    }
}

/// The place of a client.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Option<Self> {
        let number = clients.fetch_add(1, Ordering::Relaxed);
        let place = Self(clients.clone());
        (number < MOST_CLIENTS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers requests until the client has no more.
fn talk(stream: &UnixStream, answers: &dyn Answers) {
    let mut unread = Vec::new();
    loop {
        let line = match receive(stream, &mut unread) {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(error) => {
                // The client may be gone.
                let _ = send(stream, &Line::Error(error.to_string()));
                return;
            }
        };
        let mut progress = |value| send(stream, &Line::Progress(value)).is_ok();
        let answer = Ask::parse(&line).and_then(|ask| answers.answer(&ask, &mut progress));
        let line = answer.map_or_else(Line::Error, Line::Answer);
        if send(stream, &line).is_err() {
            return;
        }
    }
}

/// A line without its end; `None` when the client has no more.
fn receive(mut stream: &UnixStream, unread: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let until = Instant::now() + LINE_TIME;
    let mut looked_at = 0;
    loop {
        if let Some(end) = unread[looked_at..].iter().position(|byte| *byte == b'\n') {
            let rest = unread.split_off(looked_at + end + 1);
            let mut line = std::mem::replace(unread, rest);
            line.pop();
            return Ok(Some(line));
        }
        looked_at = unread.len();
        if looked_at > LONGEST_REQUEST {
            return Err(io::Error::other("the request is too long"));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other("the request took too long"));
        }
        stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(read) => unread.extend_from_slice(&buffer[..read]),
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn send(mut stream: &UnixStream, line: &Line) -> io::Result<()> {
    let text = line.to_line();
    let mut rest = text.as_bytes();
    let until = Instant::now() + LINE_TIME;
    while !rest.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_write_timeout(Some(left))?;
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A time that is over is noticed by the clock.
fn is_temporary(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};

    use super::super::protocol::Progress;
    use super::*;

    struct Echo;

    impl Answers for Echo {
        fn answer(&self, ask: &Ask, progress: Progress<'_>) -> Result<Value, String> {
            progress(json!(1));
            Ok(json!(format!("{ask:?}")))
        }
    }

    fn server() -> (tempfile::TempDir, Server) {
        let folder = tempfile::TempDir::new().expect("a folder");
        let wanted = Wanted { path: Some(folder.path().join("s")), group: None };
        let server = Server::start(&wanted, Arc::new(Echo)).expect("a socket");
        (folder, server)
    }

    fn connect(server: &Server) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(server.path()).expect("it listens"))
    }

    fn ask(client: &mut BufReader<UnixStream>, request: &[u8]) -> Vec<Line> {
        client.get_mut().write_all(request).expect("it listens");
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            client.read_until(b'\n', &mut line).expect("a line");
            let line = Line::parse(&line).expect("a line");
            let is_last = !matches!(line, Line::Progress(_));
            lines.push(line);
            if is_last {
                return lines;
            }
        }
    }

    #[test]
    fn requests_of_a_client_are_answered_one_after_the_other() {
        let (_folder, server) = server();
        let mut client = connect(&server);
        for _ in 0..3 {
            let lines = ask(&mut client, Ask::Status {}.to_line().as_bytes());
            assert_eq!(lines, [Line::Progress(json!(1)), Line::Answer(json!("Status"))]);
        }
        assert!(matches!(&ask(&mut client, b"no JSON\n")[..], [Line::Error(_)]));
        assert_eq!(ask(&mut client, Ask::Status {}.to_line().as_bytes()).len(), 2);
    }

    #[test]
    fn a_request_that_is_too_long_ends_the_talk() {
        let (_folder, server) = server();
        let mut client = connect(&server);
        let lines = ask(&mut client, &vec![b'x'; LONGEST_REQUEST + 4097]);
        assert_eq!(lines, [Line::Error("the request is too long".to_owned())]);
    }

    #[test]
    fn clients_that_say_nothing_hold_up_nobody_else() {
        let (_folder, server) = server();
        let mut silent: Vec<_> = (0..MOST_CLIENTS).map(|_| connect(&server)).collect();
        // Each has its place when it is answered.
        for client in &mut silent {
            assert_eq!(ask(client, Ask::Status {}.to_line().as_bytes()).len(), 2);
        }
        let refused = ask(&mut connect(&server), b"");
        assert_eq!(refused, [Line::Error("too many clients; try again".to_owned())]);
        silent.pop();
        let until = Instant::now() + LINE_TIME;
        while ask(&mut connect(&server), Ask::Status {}.to_line().as_bytes()).len() != 2 {
            assert!(Instant::now() < until, "no place gets free");
        }
    }

    #[test]
    fn the_socket_is_for_its_user_and_goes_with_the_server() {
        let (folder, server) = server();
        let path = server.path().to_path_buf();
        let mode = fs::metadata(&path).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let wanted = Wanted { path: Some(path.clone()), group: None };
        let error = Server::start(&wanted, Arc::new(Echo)).expect_err("another one is there");
        assert!(error.contains("in use"), "{error}");
        drop(server);
        assert!(!path.exists());
        // One that a daemon has left behind is no hindrance; a file is.
        drop(UnixListener::bind(&path).expect("a socket"));
        drop(Server::start(&wanted, Arc::new(Echo)).expect("a socket"));
        fs::write(&path, "mine").expect("a file");
        Server::start(&wanted, Arc::new(Echo)).expect_err("a file is there");
        assert_eq!(fs::read(&path).expect("a file"), b"mine");
        drop(folder);
    }
}
