"""A real control plane on loopback: etcd, kube-apiserver, scheduler and controllers, no kubelet.

The binaries are those of ``build_control_plane.sh`` (1.20), or a current release's (envtest's, with
kube-scheduler and kube-controller-manager of the same version beside them).
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from tests.support.patience import PATIENCE

BINARIES = ("etcd", "kube-apiserver", "kube-scheduler", "kube-controller-manager")
CONTROLLERS = (
    "deployment", "replicaset", "statefulset", "daemonset", "job", "cronjob", "namespace",
    "garbagecollector", "nodelifecycle", "resourcequota", "disruption", "replicationcontroller",
)  # fmt: skip
ADMIN, GUEST = "admin-token", "guest-token"
"""Bearer tokens: one that may do everything, one of a user without any rights."""

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Refused(Exception):
    """An answer of the API server that is no success: its code, and its message."""

    def __init__(self, code: int, message: str) -> None:
        """Take the HTTP code and the message of the Status."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Api:
    """Plain JSON calls of an API server over one connection; not for several threads."""

    def __init__(self, port: int, certificate: Path, token: str = ADMIN) -> None:
        """Take the server's port on 127.0.0.1 and its certificate; connect at the first call."""
        context = ssl.create_default_context(cafile=str(certificate))
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=PATIENCE, context=context
        )
        self._token = token

    def open(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: Any
    ) -> http.client.HTTPResponse:
        """Send a request and return the answer unread; raises OSError without a connection."""
        if query:
            path += "?" + urlencode(query)
        data = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        was_idle = self._connection.sock is not None
        try:
            self._connection.request(method, path, data, headers)
            return self._connection.getresponse()
        except (http.client.RemoteDisconnected, ssl.SSLEOFError, BrokenPipeError):
            self._connection.close()
            if was_idle:  # the server closes connections that wait long; this one is begun anew
                return self.open(method, path, body, kind)
            raise
        except http.client.HTTPException as error:
            self._connection.close()
            raise ConnectionError(str(error)) from error
        except OSError:
            self._connection.close()
            raise

    def call(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **query: Any
    ) -> Any:
        """Send a request and return the object of the answer; raises Refused for an error."""
        answer = self.open(method, path, body, kind, **query)
        data = answer.read()
        found: Any = {"message": data.decode()}
        if answer.headers.get_content_type() == "application/json":
            found = json.loads(data)
        if answer.status >= 400:
            raise Refused(answer.status, found["message"].strip())
        return found

    def get(self, path: str, **query: Any) -> Any:
        """Read an object or a list."""
        return self.call("GET", path, **query)

    def post(self, path: str, body: Any, **query: Any) -> Any:
        """Create an object."""
        return self.call("POST", path, body, **query)

    def patch(self, path: str, body: Any, kind: str = MERGE, **query: Any) -> Any:
        """Change an object."""
        return self.call("PATCH", path, body, kind, **query)

    def delete(self, path: str, body: Any = None, **query: Any) -> Any:
        """Delete an object or a collection."""
        return self.call("DELETE", path, body, **query)

    def watch(self, path: str, version: str, seconds: int = 300) -> Iterator[dict[str, Any]]:
        """Yield the events since a version, until the server ends the watch."""
        answer = self.open("GET", path, watch=1, resourceVersion=version, timeoutSeconds=seconds)
        if answer.status >= 400:
            raise Refused(answer.status, answer.read().decode())
        while line := answer.readline():
            yield json.loads(line)
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class ControlPlane:
    """The four processes, in a folder with their data, logs, certificate and kubeconfig."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        """Start everything and wait until it is ready; raises RuntimeError where it is not."""
        missing = [name for name in BINARIES if not (binaries / name).is_file()]
        if missing:
            raise RuntimeError(f"no {', '.join(missing)} in {binaries}")
        self._binaries = binaries
        self.folder = folder
        self.port, self._etcd_port, peer = _free_ports(3)
        self.certificate = folder / "server.crt"
        self.kubeconfig = self._write_config("admin", ADMIN)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        # the kernel ends a process with the thread that started it, so that one has to stay
        self._starter = ThreadPoolExecutor(1)
        begun = time.monotonic()
        try:
            self._start_etcd(peer)
            self.start_apiserver()
            self._start_controllers()
        except BaseException:
            self.stop()
            raise
        self.seconds_to_start = time.monotonic() - begun
        self.api = self.connect()
        self.version = str(self.api.get("/version")["gitVersion"])
        self.minor = int(re.sub(r"\D", "", self.api.get("/version")["minor"]))

    def connect(self, token: str = ADMIN) -> Api:
        """Return a connection of its own."""
        return Api(self.port, self.certificate, token)

    def guest_kubeconfig(self) -> Path:
        """Return the kubeconfig of a user without any rights."""
        return self._write_config("guest", GUEST)

    def check(self) -> None:
        """Raise RuntimeError, with the end of its log, if a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} has ended:\n{log[-3000:]}")

    def memory(self) -> dict[str, int]:
        """Return the resident memory of the processes, in bytes."""
        found = {}
        for name, process in self.processes.items():
            status = Path(f"/proc/{process.pid}/status").read_text()
            found[name] = 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]
        return found

    def kill_apiserver(self) -> None:
        """Kill the API server at once, as a crash does."""
        process = self.processes.pop("kube-apiserver")
        process.kill()
        process.wait()

    def start_apiserver(self) -> None:
        """Start the API server on the same port with the same data, and wait until it is ready."""
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.certificate}",
            f"--tls-private-key-file={self.folder / 'server.key'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://127.0.0.1",
            f"--service-account-key-file={self.folder / 'server.key'}",
            f"--service-account-signing-key-file={self.folder / 'server.key'}",
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            "--profiling=false",
        )
        self._wait_until_ready()

    def ready(self) -> bool:
        """Return True if the API server says that it is ready."""
        api = self.connect()
        try:
            answer = api.open("GET", "/readyz")
            answer.read()
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            api.close()

    def stop(self) -> None:
        """Kill everything."""
        if hasattr(self, "api"):
            self.api.close()
        for process in reversed(self.processes.values()):
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()
        self._starter.shutdown()

    def _start_etcd(self, peer: int) -> None:
        client, peers = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, peer))
        self._start(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
        )
        key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(self.folder / "server.key"))
        extensions = ("subjectAltName=IP:127.0.0.1", "keyUsage=digitalSignature,keyCertSign")
        subprocess.run(
            [
                "openssl", "req", "-x509", *key, "-out", str(self.certificate), "-days", "2",
                "-subj", "/CN=127.0.0.1", *(word for e in extensions for word in ("-addext", e)),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
        (self.folder / "tokens.csv").write_text(
            f"{ADMIN},admin,admin,system:masters\n{GUEST},guest,guest,guests\n"
        )
        self._write_config("admin", ADMIN)  # now with the certificate

    def _start_controllers(self) -> None:
        common = (
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=1000",
            "--kube-api-burst=1000",
        )
        controllers = ",".join(CONTROLLERS)
        for name, own in (
            ("kube-scheduler", ()),
            ("kube-controller-manager", (f"--controllers={controllers}",)),
        ):
            # until 1.23 there is a second port, open to everyone and without TLS, unless it is 0
            usage = subprocess.run([self._binaries / name, "--help"], capture_output=True).stdout
            old = ["--port=0"] if re.search(rb"^ +--port ", usage, re.M) else []
            if old and name == "kube-scheduler":
                old.append(f"--config={self._old_scheduler_config()}")
            self._start(name, *common, *own, *old)

    def _old_scheduler_config(self) -> Path:
        """Return a configuration with today's weights of scores, for a scheduler before 1.23."""
        weights = {"TaintToleration": 3, "NodeAffinity": 2, "InterPodAffinity": 2}
        score = {
            "disabled": [{"name": name} for name in weights],
            "enabled": [{"name": name, "weight": weight} for name, weight in weights.items()],
        }
        own = f"127.0.0.1:{_free_ports(1)[0]}"  # by default it is open to everyone
        config = {
            "apiVersion": "kubescheduler.config.k8s.io/v1beta1",
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {"leaderElect": False},
            "healthzBindAddress": own,
            "metricsBindAddress": own,
            "clientConnection": {"kubeconfig": str(self.kubeconfig), "qps": 1000, "burst": 1000},
            "profiles": [{"schedulerName": "default-scheduler", "plugins": {"score": score}}],
        }
        path = self.folder / "scheduler.yml"
        path.write_text(yaml.safe_dump(config))
        return path

    def _start(self, name: str, *arguments: str) -> None:
        # killed by the kernel when this process ends, in whatever way
        prefix = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = self._starter.submit(
                subprocess.Popen,
                [*prefix, str(self._binaries / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the tests
            ).result()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self.ready():
            self.check()
            if time.monotonic() > end:
                raise RuntimeError(f"the API server is not ready in {PATIENCE:g} s")
            time.sleep(0.05)

    def _write_config(self, user: str, token: str) -> Path:
        path = self.folder / f"{user}.kubeconfig"
        authority = self.certificate.read_bytes() if self.certificate.exists() else b""
        cluster = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority-data": base64.b64encode(authority).decode(),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def binaries() -> Path | None:
    """Return the folder that SIMGIT_TEST_CONTROL_PLANE names, None where it is not set."""
    given = os.environ.get("SIMGIT_TEST_CONTROL_PLANE")
    if not given:
        return None
    folder = Path(given)
    return folder / "bin" if (folder / "bin").is_dir() else folder
