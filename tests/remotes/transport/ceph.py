"""Ceph's gateway with S3's interface: a monitor, one OSD of 4 GiB in a file, and the gateway.

From Debian: ``apt-get install --no-install-recommends ceph-mon ceph-osd radosgw ceph-common``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import obstore
import pytest
from obstore.store import S3Store

ACCESS, SECRET = "access", "the-secret"
READER: Final = ("reader", "the-readers-secret")
"""The keys of a user who has no buckets."""
PROGRAMS: Final = (
    "ceph",
    "ceph-authtool",
    "ceph-mon",
    "ceph-osd",
    "monmaptool",
    "radosgw",
    "radosgw-admin",
)
_SETTINGS: Final = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{monitor}/0]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
run_dir = {place}
admin_socket = {place}/$name.asok
log_file = {place}/$name.log
pid_file = {place}/$name.pid
keyring = {place}/keyring
mon_data = {place}/mon
osd_data = {place}/osd
rgw_data = {place}/rgw
osd_objectstore = bluestore
bluestore_block_size = 4294967296
osd_memory_target = 939524096
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
rgw_frontends = beast endpoint=127.0.0.1:{gateway}
"""
_ENDS_WITH_THE_TESTS: Final = """
import subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
sys.stdin.buffer.read()
process.kill()
process.wait()
"""


def missing() -> str | None:
    """Return what is not installed, None if everything is."""
    return next((each for each in PROGRAMS if shutil.which(each) is None), None)


NEEDED: Final = pytest.mark.skipif(missing() is not None, reason=f"needs Ceph: no {missing()}")


@contextmanager
def gateway(access: str, secret: str) -> Iterator[str]:
    """Run a cluster with one user; yield the address of its gateway."""
    with ExitStack() as stack:
        # not in memory: an OSD reads and writes around the page cache
        place = Path(tempfile.mkdtemp(prefix="simgit-ceph-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        monitor, port = _free_port(), _free_port()
        settings = place / "ceph.conf"
        settings.write_text(_SETTINGS.format(fsid=fsid, monitor=monitor, place=place, gateway=port))

        def run(*command: str) -> str:
            done = subprocess.run(
                command, env=os.environ | {"CEPH_CONF": str(settings)}, cwd=place,
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            return done.stdout

        def start(*command: str) -> None:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _ENDS_WITH_THE_TESTS, *command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | {"CEPH_CONF": str(settings)},
                )
            )
            assert process.stdin is not None
            stack.callback(process.stdin.close)

        for name, rights in [
            ("mon.", ["mon", "allow *"]),
            ("client.admin", ["mon", "allow *", "osd", "allow *", "mgr", "allow *"]),
            ("osd.0", ["mon", "allow profile osd", "osd", "allow *"]),
            ("client.rgw", ["mon", "allow rw", "osd", "allow rwx"]),
        ]:
            caps = [
                word for i in range(0, len(rights), 2) for word in ("--cap", *rights[i : i + 2])
            ]
            create = [] if (place / "keyring").exists() else ["--create-keyring"]
            run("ceph-authtool", "keyring", *create, "--gen-key", "-n", name, *caps)
        run(
            "monmaptool",
            "--create",
            "--addv",
            "a",
            f"[v2:127.0.0.1:{monitor}]",
            "--fsid",
            fsid,
            "monmap",
        )
        for name in ("mon", "osd", "rgw"):
            (place / name).mkdir()
        run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        start("ceph-mon", "-f", "-i", "a")
        run("ceph", "--connect-timeout", "60", "osd", "new", osd)
        run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        start("ceph-osd", "-f", "-i", "0")
        start("radosgw", "-f", "-n", "client.rgw")
        _wait_for(f"http://127.0.0.1:{port}/")
        made = run("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests",
                   f"--access-key={access}", f"--secret={secret}")  # fmt: skip
        assert json.loads(made)["user_id"] == "tests"
        run("radosgw-admin", "user", "create", "--uid=reader", "--display-name=reader",
            f"--access-key={READER[0]}", f"--secret={READER[1]}")  # fmt: skip
        yield f"http://127.0.0.1:{port}"


def make_bucket(address: str, name: str, access: str, secret: str) -> None:
    """Make a bucket, if it is not there."""
    store = S3Store(
        name, endpoint=address, access_key_id=access, secret_access_key=secret,
        region="us-east-1", client_options={"allow_http": True},
    )  # fmt: skip
    address = obstore.sign(store, "PUT", "", timedelta(minutes=1))
    with urlopen(Request(address, method="PUT")) as answer:
        assert answer.status == 200


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_for(address: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")
