//! Metrics over HTTP.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::common::mount::{Mount, can_mount};
use crate::process::daemon::{read_all, source_of_one};

/// An address that nobody listens at, at least a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it has one").to_string()
}

/// The answer to a request as it is sent.
fn answer(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a socket");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

fn get(address: &str, path: &str) -> String {
    answer(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[test]
fn metrics_and_health_are_served() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let address = free_address();
    let mount = Mount::of(source.path()).args(["--listen", &address]).start();
    read_all(&mount.path().join("a.ims"));
    let health = get(&address, "/healthz");
    assert!(health.starts_with("HTTP/1.1 200 OK") && health.ends_with("\r\n\r\nok\n"), "{health}");
    let text = get(&address, "/metrics");
    assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name}: {text}"));
        line.trim().parse().expect("a number")
    };
    assert!(value("zarrims_decoded_bytes_total ") > 0);
    let label = format!("zarrims_mount_images{{mountpoint=\"{}\"}} ", mount.path().display());
    assert_eq!(value(&label), 1);
    let kinds = text.matches("# TYPE ").count();
    assert!(kinds > 30 && kinds == text.matches("# HELP ").count());
    assert!(get(&address, "/").starts_with("HTTP/1.1 404"));
    let post = answer(&address, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    // Clients that say nothing, or nonsense, hold up nobody.
    let silent: Vec<_> = (0..5).map(|_| TcpStream::connect(&address)).collect();
    assert!(answer(&address, "\0\0\0\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert!(get(&address, "/healthz").contains("200 OK"));
    drop(silent);
}

#[test]
fn an_address_that_is_taken_is_told_at_the_start() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it has one").to_string();
    let refused = Mount::of(source.path()).args(["--listen", &address]).try_start();
    let refused = refused.expect_err("the address is taken");
    assert_eq!(refused.status.code(), Some(1));
    let line = refused.stderr.last().expect("a line");
    assert!(line.contains(&format!("--listen {address}")), "{line}");
}
