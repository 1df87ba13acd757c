//! Remote storages for the suite: a server with all that real ones have, and `s3s-fs`, whose listings have no
//! entity tags.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;

use super::super::Storage;
use super::super::object::ObjectStorage;
use super::Fixture;
use super::server::{Kind, Server};
use crate::objects::{Address, Options};

/// Writes a file, or puts another one in its place, a second later than any before.
fn put(folder: &Path, path: &str, bytes: &[u8]) {
    static PUTS: AtomicU64 = AtomicU64::new(0);
    let path = folder.join(path);
    fs::create_dir_all(path.parent().expect("below the top")).expect("a folder");
    fs::write(&path, bytes).expect("a file");
    let second = 1_700_000_000 + PUTS.fetch_add(1, Ordering::Relaxed);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    fs::File::options().write(true).open(path).and_then(|file| file.set_modified(at)).expect("set");
}

/// A folder that is there only while something is in it, as in an object store.
fn remove(folder: &Path, path: &str) {
    let path = folder.join(path);
    fs::remove_file(&path).expect("removed");
    for above in path.ancestors().skip(1).take_while(|above| *above != folder) {
        if fs::remove_dir(above).is_err() {
            break;
        }
    }
}

fn storage(endpoint: String) -> ObjectStorage {
    let address = Address::parse("s3://bucket/prefix").expect("an address").expect("a good one");
    let options = Options { endpoint: Some(endpoint), anonymous: true, ..Options::default() };
    ObjectStorage::of_folder(&address, &options).expect("options")
}

/// An object store.
pub(super) struct S3 {
    folder: TempDir,
    pub(super) server: Server,
    storage: ObjectStorage,
}

impl Fixture for S3 {
    fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-s3-").expect("a temporary folder");
        let server = Server::start(Kind::S3, folder.path());
        let storage = storage(server.url());
        Self { folder, server, storage }
    }

    fn storage(&self) -> &dyn Storage {
        &self.storage
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        put(&self.folder.path().join("prefix"), path, bytes);
        // Another client: listings count for a moment.
        self.storage.forget();
    }

    fn remove(&self, path: &str) {
        remove(&self.folder.path().join("prefix"), path);
        self.storage.forget();
    }
}

/// `s3s-fs`.
pub(super) struct S3sFs {
    folder: TempDir,
    storage: ObjectStorage,
    /// The server lives as long as its runtime.
    _runtime: tokio::runtime::Runtime,
}

impl Fixture for S3sFs {
    fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-s3s-").expect("a temporary folder");
        fs::create_dir(folder.path().join("bucket")).expect("a bucket");
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().expect("threads");
        let service = s3s_fs::FileSystem::new(folder.path()).expect("a folder");
        let service = S3ServiceBuilder::new(service).build();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { folder, storage: storage(endpoint), _runtime: runtime }
    }

    fn storage(&self) -> &dyn Storage {
        &self.storage
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        put(&self.folder.path().join("bucket/prefix"), path, bytes);
        self.storage.forget();
    }

    fn remove(&self, path: &str) {
        remove(&self.folder.path().join("bucket/prefix"), path);
        self.storage.forget();
    }
}
