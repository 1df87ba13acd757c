"""Real servers of files and objects as sources: nginx, for parts of files, moto, which speaks S3 (and what Google
Cloud Storage has of it), and Azurite, the emulator of Azure's makers."""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import subprocess
import sys
import urllib.request
from pathlib import Path

from .rig import Program, answers, free_port, wanted, within
from .store import Seen, Store

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
# A public account: Azurite's documentation, "Default Storage Account".
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
AZURE_CREDENTIALS = {"AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY}


@contextlib.contextmanager
def running(name, args, port, work, seconds=60):
    """A server, from its first answer on a port until the end of the block."""
    server = Program(args, work / f"{name}.log")
    try:
        within(seconds, name, lambda: answers(port) or not server.is_running())
        assert server.is_running(), server.tail()
        yield
    finally:
        server.stop()


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
    with running("nginx", [program, "-c", conf, "-e", "stderr"], port, work, seconds=30):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def moto(work):
    port = free_port()
    with running("moto", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, work):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def azurite(work):
    program, port = wanted("azurite-blob"), free_port()
    args = ["--blobPort", str(port), "--location", work / "azurite", "--skipApiVersionCheck", "--disableTelemetry"]
    with running("azurite", [program, *args], port, work):
        yield f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"


def put_azure(endpoint, path, data=b"", query="", **headers):
    """Signs as Azure's documentation says ("Authorize with Shared Key"). `query`: one name and its value, or nothing."""
    headers = {
        "x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    named = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    kind = "application/octet-stream"
    asked = "\n" + query.replace("=", ":") if query else ""
    text = f"PUT\n\n\n{len(data) or ''}\n\n{kind}\n\n\n\n\n\n\n{named}/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{path}{asked}"
    signature = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(signature).decode()}"
    url = f"{endpoint}/{path}" + (f"?{query}" if query else "")
    request = urllib.request.Request(url, data=data, method="PUT", headers={"Content-Type": kind, **headers})
    urllib.request.urlopen(request, timeout=30).close()


def put(url, data=b""):
    headers = {
        "Content-Type": "application/octet-stream", "x-amz-acl": "public-read",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request",
    }
    request = urllib.request.Request(url, data=data, method="PUT", headers=headers)
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
        with results.check("the same bucket as one of Google Cloud Storage"):
            with mounted(daemon, "gs://bucket", "--anonymous", *options) as mount:
                assert same(mount), "other bytes"
            assert "no such bucket" in refused(daemon, "gs://absent", "--anonymous", *options)
    with results.check("Azurite serves a container"), azurite(daemon.work) as endpoint:
        put_azure(endpoint, "box", query="restype=container")
        blob = {"x_ms_blob_type": "BlockBlob"}
        for path in sorted(store.path.rglob("*")):
            if path.is_file():
                put_azure(endpoint, f"box/below/{path.relative_to(daemon.source)}", path.read_bytes(), **blob)
        options = ("--endpoint", endpoint)
        with mounted(daemon, "az://box/below", *options, **AZURE_CREDENTIALS) as mount:
            assert same(mount), "other bytes"
            store.chunk(0, 333)
            chunk = "remote.zarr/0/0.0.0"
            put_azure(endpoint, f"box/below/{chunk}", (daemon.source / chunk).read_bytes(), **blob)
            within(20, "a replaced object", lambda: _is(mount, 333))
            store.chunk(0, 100)
        assert "no such bucket" in refused(daemon, "az://absent", *options, **AZURE_CREDENTIALS)
        wrong = {**AZURE_CREDENTIALS, "AZURE_STORAGE_ACCOUNT_KEY": "AAAA"}
        assert "access denied" in refused(daemon, "az://box/below", *options, **wrong)


def _is(mount, value):
    try:
        return Seen((mount / "remote.ims").read_bytes()).halves[0][0] == value
    except OSError:
        return False
