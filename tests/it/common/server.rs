//! A server of the files of a folder, as an object store (the part of S3 that readers use) or as a plain web
//! server, with faults on demand. It counts what it is asked for.
//!
//! Real servers are tested elsewhere (`tests/neighbours`, and `s3s-fs` in the suite of storages). They do not fail
//! on demand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What a server does in place of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers with a status and the code of an error.
    Status(u16, &'static str),
    /// Sends so much of the body, and closes the connection.
    Cut(usize),
    /// Sends so much of the body, and nothing more.
    Stall(usize),
    /// Sends the whole file where a part was asked for.
    WholeFile,
    /// Sends another part than the one asked for, and says so.
    OtherPart,
    /// Sends a web page.
    Page,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `GET`, `HEAD`, `PUT`, or `LIST`.
    pub method: String,
    /// Path of the file or folder below the served folder.
    pub key: String,
    /// The range header.
    pub range: Option<String>,
}

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An object store with a bucket called `bucket`.
    S3,
    /// A web server.
    Web,
}

type Judge = Box<dyn Fn(&Asked) -> Option<Fault> + Send + Sync>;

/// Most names in a page of a listing, as services have it.
const PAGE: usize = 1000;

/// See the module.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    kind: Kind,
    folder: PathBuf,
    latency: Mutex<Duration>,
    judge: Mutex<Judge>,
    asked: Mutex<Vec<Asked>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    body_bytes: AtomicU64,
    is_over: AtomicBool,
    /// Stalls end with the server.
    over: (Mutex<bool>, Condvar),
}

impl Server {
    /// Serves a folder on a port of this machine.
    pub fn start(kind: Kind, folder: impl Into<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            kind,
            folder: folder.into(),
            latency: Mutex::default(),
            judge: Mutex::new(Box::new(|_| None)),
            asked: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            body_bytes: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            over: (Mutex::new(false), Condvar::new()),
        });
        let served = shared.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                if served.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(connection), served) = (connection, served.clone()) else { continue };
                // Else the second part of an answer waits for a late acknowledgement of the first.
                connection.set_nodelay(true).expect("a connection");
                thread::spawn(move || served.serve(&connection));
            }
        });
        Self { address, shared }
    }

    /// The address of the service.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Each answer comes so much later.
    pub fn delay(&self, latency: Duration) {
        *lock(&self.shared.latency) = latency;
    }

    /// Decides on each request.
    pub fn judge(&self, judge: impl Fn(&Asked) -> Option<Fault> + Send + Sync + 'static) {
        *lock(&self.shared.judge) = Box::new(judge);
    }

    /// All answers are right again.
    pub fn mend(&self) {
        self.judge(|_| None);
    }

    /// The requests so far; forgets them.
    pub fn take_asked(&self) -> Vec<Asked> {
        self.shared.body_bytes.store(0, Ordering::Relaxed);
        self.shared.most_in_flight.store(0, Ordering::Relaxed);
        std::mem::take(&mut *lock(&self.shared.asked))
    }

    /// Bytes of files that were sent since the requests were forgotten.
    pub fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::Relaxed)
    }

    /// Most requests that were under way at a time since then.
    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        *lock(&self.shared.over.0) = true;
        self.shared.over.1.notify_all();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request with what only the server needs.
struct Request {
    asked: Asked,
    query: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// An answer.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The body is (a part of) a file.
    is_file: bool,
}

impl Answer {
    fn error(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>"
        );
        let headers = vec![("Content-Type", "application/xml".to_owned())];
        Self { status, headers, body: body.into_bytes(), is_file: false }
    }

    fn page() -> Self {
        let headers = vec![("Content-Type", "text/html; charset=utf-8".to_owned())];
        Self { status: 200, headers, body: b"<html>a page</html>".to_vec(), is_file: false }
    }
}

impl Shared {
    fn serve(&self, connection: &TcpStream) {
        let mut reader = BufReader::new(connection);
        while let Ok(Some(request)) = read_request(&mut reader, self.kind) {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_in_flight.fetch_max(now, Ordering::Relaxed);
            lock(&self.asked).push(request.asked.clone());
            // The lock is given back before the wait: others wait at the same time.
            let latency = *lock(&self.latency);
            thread::sleep(latency);
            let fault = lock(&self.judge)(&request.asked);
            let answered = self.answer(&request, fault.as_ref(), connection);
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            if answered.is_err() {
                let _ = connection.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    fn answer(&self, request: &Request, fault: Option<&Fault>, to: &TcpStream) -> io::Result<()> {
        let answer = match fault {
            Some(Fault::Status(status, code)) => Answer::error(*status, code),
            Some(Fault::Page) => Answer::page(),
            _ => self.right_answer(request, fault),
        };
        let has_body = request.asked.method != "HEAD";
        let mut head = format!("HTTP/1.1 {} x\r\n", answer.status);
        for (name, value) in &answer.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", answer.body.len());
        let mut to = to;
        to.write_all(head.as_bytes())?;
        if !has_body {
            return Ok(());
        }
        let (body, ends) = match fault {
            Some(Fault::Cut(at) | Fault::Stall(at)) if answer.is_file => {
                (&answer.body[..(*at).min(answer.body.len())], true)
            }
            _ => (&answer.body[..], false),
        };
        if answer.is_file {
            self.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        }
        to.write_all(body)?;
        if matches!(fault, Some(Fault::Stall(_))) {
            let over = self.over.1.wait_while(lock(&self.over.0), |over| !*over);
            drop(over);
        }
        if ends { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    fn right_answer(&self, request: &Request, fault: Option<&Fault>) -> Answer {
        let Request { asked, query, body } = request;
        match &*asked.method {
            "LIST" => self.list(&asked.key, query),
            "PUT" => self.put(&asked.key, body),
            _ => self.get(asked, fault),
        }
    }

    fn put(&self, key: &str, body: &[u8]) -> Answer {
        let path = self.folder.join(key);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, body).expect("a file");
        let headers = vec![("ETag", "\"put\"".to_owned())];
        Answer { status: 200, headers, body: Vec::new(), is_file: false }
    }

    fn get(&self, asked: &Asked, fault: Option<&Fault>) -> Answer {
        let path = self.folder.join(&asked.key);
        let Ok(bytes) = fs::read(&path) else {
            return match self.kind {
                Kind::Web if path.is_dir() => Answer::page(),
                Kind::Web => Answer::error(404, "absent"),
                Kind::S3 => Answer::error(404, "NoSuchKey"),
            };
        };
        let (etag, modified) = state_of(&path);
        let mut headers =
            vec![("ETag", format!("\"{etag}\"")), ("Last-Modified", http_date(modified))];
        headers.push(("Content-Type", "application/octet-stream".to_owned()));
        let size = bytes.len();
        let range = asked.range.as_deref().filter(|_| fault != Some(&Fault::WholeFile));
        let Some(range) = range else {
            return Answer { status: 200, headers, body: bytes, is_file: true };
        };
        let (from, to) = range.trim_start_matches("bytes=").split_once('-').expect("a range");
        let (from, to) = match (from, to) {
            ("", tail) => (size.saturating_sub(tail.parse().expect("a number")), size),
            (from, "") => (from.parse().expect("a number"), size),
            (from, to) => {
                (from.parse().expect("a number"), to.parse::<usize>().expect("a number") + 1)
            }
        };
        let (mut from, mut to) = (from, to.min(size));
        if from >= to {
            return Answer::error(416, "InvalidRange");
        }
        if fault == Some(&Fault::OtherPart) {
            (from, to) = (from.saturating_sub(1), to.saturating_sub(1));
        }
        headers.push(("Content-Range", format!("bytes {from}-{}/{size}", to - 1)));
        Answer { status: 206, headers, body: bytes[from..to].to_vec(), is_file: true }
    }

    fn list(&self, bucket: &str, query: &BTreeMap<String, String>) -> Answer {
        if bucket != "bucket" {
            return Answer::error(404, "NoSuchBucket");
        }
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let (prefix, after) = (text("prefix"), text("continuation-token"));
        let is_flat = text("delimiter").is_empty();
        let most = text("max-keys").parse().unwrap_or(PAGE);
        let mut keys = Vec::new();
        walk(&self.folder, "", &mut keys);
        let mut items = std::collections::BTreeSet::new();
        for key in keys.iter().filter(|key| key.starts_with(prefix)) {
            let inside = key[prefix.len()..].find('/').filter(|_| !is_flat);
            items.insert(inside.map_or(key.clone(), |at| key[..=prefix.len() + at].to_owned()));
        }
        let page: Vec<_> =
            items.iter().filter(|item| item.as_str() > after).take(most + 1).collect();
        let is_cut = page.len() > most;
        let mut xml = "<?xml version=\"1.0\"?><ListBucketResult>".to_owned();
        for item in page.iter().take(most) {
            let key = item.replace('&', "&amp;").replace('<', "&lt;");
            if item.ends_with('/') {
                let _ = write!(xml, "<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>");
            } else {
                let path = self.folder.join(item.as_str());
                let ((etag, modified), size) =
                    (state_of(&path), fs::metadata(&path).map_or(0, |file| file.len()));
                let _ = write!(
                    xml,
                    "<Contents><Key>{key}</Key><LastModified>{}</LastModified><ETag>\"{etag}\"</ETag><Size>{size}</Size></Contents>",
                    iso_date(modified)
                );
            }
        }
        if is_cut {
            let next = page[most - 1];
            let _ = write!(xml, "<NextContinuationToken>{next}</NextContinuationToken>");
        }
        let _ = write!(xml, "<IsTruncated>{is_cut}</IsTruncated></ListBucketResult>");
        let headers = vec![("Content-Type", "application/xml".to_owned())];
        Answer { status: 200, headers, body: xml.into_bytes(), is_file: false }
    }
}

/// All files below a folder, in no order.
fn walk(folder: &Path, inside: &str, keys: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder.join(inside)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(folder, &key, keys),
            _ => keys.push(key),
        }
    }
}

/// A tag, and the time of the last change in seconds.
fn state_of(path: &Path) -> (String, i64) {
    fs::metadata(path).map_or_else(
        |_| (String::new(), 0),
        |file| {
            let parts = [file.ino(), file.len()].map(|part| format!("{part:x}")).join("-");
            (format!("{parts}-{:x}-{:x}", file.mtime(), file.mtime_nsec()), file.mtime())
        },
    )
}

fn read_request(reader: &mut impl BufRead, kind: Kind) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut range, mut length) = (None, 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => range = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query: BTreeMap<_, _> =
        pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
    let path = decoded(path.trim_start_matches('/'));
    let (method, key) = match kind {
        Kind::S3 if query.contains_key("list-type") => {
            ("LIST", path.trim_end_matches('/').to_owned())
        }
        Kind::S3 => (method, path.split_once('/').map_or(String::new(), |(_, key)| key.to_owned())),
        Kind::Web => (method, path),
    };
    Ok(Some(Request { asked: Asked { method: method.to_owned(), key, range }, query, body }))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex =
            tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Year, month and day of a day since 1970 (proleptic Gregorian calendar).
fn civil(days: i64) -> (i64, i64, i64) {
    let (mut year, mut left) = (1970, days);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    (year, month, left + 1)
}

fn iso_date(seconds: i64) -> String {
    let ((year, month, day), time) = (civil(seconds / 86_400), seconds % 86_400);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

fn http_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let ((year, month, day), time) = (civil(seconds / 86_400), seconds % 86_400);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    let weekday = DAYS[usize::try_from(seconds / 86_400 % 7).expect("a day")];
    let month = MONTHS[usize::try_from(month - 1).expect("a month")];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}
