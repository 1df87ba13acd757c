"""Real servers of files and objects as sources: nginx, for parts of files, and moto, which speaks S3."""

import contextlib
import subprocess
import sys
import urllib.request
from pathlib import Path

from .rig import Program, answers, free_port, wanted, within
from .store import Seen, Store

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextlib.contextmanager
def nginx(work, folder):
    program, port = wanted("nginx"), free_port()
    conf = work / "nginx.conf"
    conf.write_text(f"""
daemon off;
user root;
pid {work}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    gzip on;
    gzip_types *;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
        location /denied/ {{ return 403; }}
    }}
}}
""")
    server = Program([program, "-c", conf, "-e", "stderr"], work / "nginx.log")
    try:
        within(30, "nginx", lambda: answers(port) or not server.is_running())
        assert server.is_running(), server.tail()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def moto(work):
    port = free_port()
    server = Program([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], work / "moto.log")
    try:
        within(60, "moto", lambda: answers(port) or not server.is_running())
        assert server.is_running(), server.tail()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def put(url, data=b""):
    request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": "application/octet-stream", "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request"})
    urllib.request.urlopen(request, timeout=30).close()


def upload(endpoint, folder):
    put(f"{endpoint}/bucket")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            put(f"{endpoint}/bucket/{path.relative_to(folder)}", path.read_bytes())


@contextlib.contextmanager
def mounted(daemon, source, *args, **environment):
    """A further daemon beside the one of the folder."""
    work = daemon.work / f"remote{free_port()}"
    mount = work / "mount"
    mount.mkdir(parents=True)
    program = Program(
        [daemon.binary, "--cache-dir", work / "cache", "--cache-size", "1GiB", *args, source, mount],
        work / "log", grace=25, env=environment or None,
    )
    is_mounted = lambda: any(
        line.split(" ")[4] == str(mount) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )
    try:
        within(30, "the mount", lambda: is_mounted() or not program.is_running())
        assert is_mounted(), program.tail()
        yield mount
    finally:
        program.stop()
        if is_mounted():
            subprocess.run(["umount", "-l", mount], check=False)


def refused(daemon, source, *args, **environment):
    """The one line of a daemon that cannot start."""
    mount = daemon.work / f"refused{free_port()}"
    mount.mkdir()
    done = subprocess.run(
        [daemon.binary, "--cache-dir", daemon.work / "none", "--request-timeout", "3s", *args, source, mount],
        capture_output=True, text=True, timeout=60, env=environment or None, check=False,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def run(results, daemon):
    store = Store(daemon.source / "remote.zarr")
    same = lambda mount: (mount / "remote.ims").read_bytes() == (daemon.mount / "remote.ims").read_bytes()
    with results.check("nginx serves a store"), nginx(daemon.work, daemon.source) as url:
        for _ in range(2):
            with mounted(daemon, f"{url}/remote.zarr") as mount:
                assert same(mount), "other bytes"
                Seen((mount / "remote.ims").read_bytes())
        assert "no Zarr metadata" in refused(daemon, f"{url}/absent.zarr")
        refused(daemon, f"{url}/denied/x.zarr")
    with results.check("moto serves a bucket"), moto(daemon.work) as endpoint:
        upload(endpoint, daemon.source)
        options = ("--endpoint", endpoint)
        for _ in range(2):
            with mounted(daemon, "s3://bucket", *options, **CREDENTIALS) as mount:
                assert same(mount), "other bytes"
                store.chunk(0, 333)
                put(f"{endpoint}/bucket/remote.zarr/0/0.0.0", (store.path / "0" / "0.0.0").read_bytes())
                within(20, "a replaced object", lambda: _is(mount, 333))
                store.chunk(0, 100)
                put(f"{endpoint}/bucket/remote.zarr/0/0.0.0", (store.path / "0" / "0.0.0").read_bytes())
                within(20, "a replaced object", lambda: _is(mount, 100))
        assert "no such bucket" in refused(daemon, "s3://absent", *options, **CREDENTIALS)


def _is(mount, value):
    try:
        return Seen((mount / "remote.ims").read_bytes()).halves[0][0] == value
    except OSError:
        return False
