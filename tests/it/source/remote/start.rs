//! What a remote source may be, and what keeps its mount from starting: one line, without secrets.

use std::fs;
use std::path::Path;

use crate::common::command;
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::server::{Fault, Kind};
use crate::common::store::{DTYPES, StoreBuilder};
use crate::common::tiny::Tiny;
use crate::source::zips::{Members, zipped};

use super::rig::Remote;

#[test]
fn what_cannot_be_read_is_one_line() {
    if !can_mount() {
        return;
    }
    let write = |folder: &Path| Tiny::default().write(&folder.join("x.zarr"));
    let s3 = Remote::new(Kind::S3, write);
    let web = Remote::new(Kind::Web, write);
    let denied = Remote::new(Kind::S3, write);
    denied.server.judge(|_| Some(Fault::Status(403, "InvalidAccessKeyId")));
    let refusing = Remote::new(Kind::S3, write);
    refusing.server.judge(|_| Some(Fault::Status(403, "AccessDenied")));
    let url = web.server.url();
    for (remote, source, words) in [
        (&s3, "s3://other/x", "no such bucket"),
        (&denied, "s3://bucket", "credentials"),
        (&refusing, "s3://bucket", "access denied"),
        (&web, &*format!("{url}/nothing.zarr"), "no Zarr metadata"),
        (&web, &*format!("{url}/x.zarr/zarr.json"), "no text that names stores"),
        (&web, "http://127.0.0.1:1/x.zarr", "cannot be reached"),
    ] {
        let refused = remote.try_mount(source, &["--request-timeout", "2s"]);
        let refused = refused.expect_err("refused");
        assert_eq!(refused.status.code(), Some(1), "{source}: {:#?}", refused.stderr);
        let [line] = &refused.stderr[..] else { panic!("{source}: {:#?}", refused.stderr) };
        assert!(line.contains(words) && line.contains(source), "{line}");
    }
}

#[test]
fn secrets_of_an_address_are_never_shown() {
    if !can_mount() {
        return;
    }
    let web = Remote::new(Kind::Web, |folder| Tiny::default().write(&folder.join("x.zarr")));
    let address = web.server.url().replace("http://", "http://ana:geheim@");
    let source = format!("{address}/x.zarr?sig=geheim");
    let mount = Mount::of(Path::new(&source)).args(["-vv"]).start();
    assert!(mount.path().join("x.ims").is_file());
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("a table");
    assert!(!mounts.contains("geheim"));
    let (_, stderr) = mount.stop();
    let with_secret: Vec<_> = stderr.iter().filter(|line| line.contains("geheim")).collect();
    assert!(with_secret.is_empty(), "{with_secret:#?}");
    for args in [["--print-config", &*source, "/tmp"], ["--list", "--json", &*source]] {
        let output = command(&[]).args(args).output().expect("the program starts");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.success() && !text.contains("geheim"), "{text}");
    }
}

/// A zip file as SOURCE, and as one of the stores that a text names.
#[test]
fn a_zip_file_at_an_address_is_shown() {
    if !can_mount() {
        return;
    }
    let store = StoreBuilder::new(DTYPES[1], "zyx", &[6, 20, 30]);
    let write = |folder: &Path| {
        store.write(&folder.join("plain.zarr"));
        fs::create_dir(folder.join("in")).expect("a folder");
        let packed = zipped(&folder.join("plain.zarr"), "", Members::Deflated);
        fs::write(folder.join("in/x.ozx"), packed).expect("a file");
        fs::write(folder.join("in/no.zip"), b"PK\x03\x04 and no more").expect("a file");
        store.write(&folder.join("in/folder.zip"));
        fs::write(folder.join("stores.txt"), "in/x.ozx\nin/folder.zip/\n").expect("a file");
    };
    let pixels = |mount: &Mount, name: &str| {
        Ims::open(&mount.path().join(name)).and_then(|ims| ims.pixels(0, 0, 0)).expect("readable")
    };
    for kind in [Kind::S3, Kind::Web] {
        let remote = Remote::new(kind, write);
        let top = match kind {
            Kind::S3 => "s3://bucket".to_owned(),
            Kind::Web => remote.server.url(),
        };
        let right = pixels(&remote.mount(&format!("{top}/plain.zarr"), &[]), "plain.ims");
        for name in ["x.ozx", "folder.zip"] {
            let mount = remote.mount(&format!("{top}/in/{name}"), &[]);
            let stem = name.split('.').next().expect("a name");
            assert_eq!(pixels(&mount, &format!("{stem}.ims")), right, "{kind:?} {name}");
        }
        if kind == Kind::Web {
            let mount = remote.mount(&format!("{top}/stores.txt"), &[]);
            for name in ["x.ims", "folder.ims"] {
                assert_eq!(pixels(&mount, name), right, "{name} of a text");
            }
        }
        let refused = remote.try_mount(&format!("{top}/in/no.zip"), &[]);
        let refused = refused.expect_err("no store");
        let [line] = &refused.stderr[..] else { panic!("one line: {:#?}", refused.stderr) };
        assert!(line.contains("no.zip"), "{line}");
    }
}
