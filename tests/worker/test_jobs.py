"""Descriptions of jobs, and what is told of how they get on."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import simgit
from simgit import InvalidInput
from simgit.remotes.transport import open_transport
from simgit.remotes.transport.memory import MemoryTransport
from simgit.worker.render import JobTemplate, indexed_job, slurm_array
from simgit.worker.status import JobStatus, missing, ranges
from tests.support.paths import ROOT

AWKWARD = (
    "python", "-c", "print('a  b', \"q\", $HOME, $(X), `date`, $$, \\n)", "", "*", "ä 🦊", "a\tb\nc",
    "--json", "key=[1, 2]: #x", "'", '"',
)  # fmt: skip


def expanded(text: str) -> str:
    """Return an element of a command as Kubernetes passes it on: $(X) is replaced, $$ is $."""
    found, i = "", 0
    while i < len(text):
        if text[i] == "$" and i + 1 < len(text):
            if text[i + 1] == "$":
                found, i = found + "$", i + 2
                continue
            assert text[i + 1] != "(", "it would be replaced"
        found, i = found + text[i], i + 1
    return found


def job(*command: str, **options: Any) -> JobTemplate:
    given = {"completions": 20, "parallelism": 5, "remote": "s3://bucket/exp", "image": "lab/x:1"}
    return JobTemplate(command or ("python", "train.py"), **{**given, **options})


def test_the_manifest_is_an_indexed_job() -> None:
    found = yaml.safe_load(indexed_job(job(
        *AWKWARD, namespace="lab", secret="aws-keys", job="explore", scratch="4Gi",
        options=("--endpoint", "http://ceph:1"),
    )))  # fmt: skip
    assert (found["apiVersion"], found["kind"]) == ("batch/v1", "Job")
    assert found["metadata"] == {"name": "explore", "namespace": "lab"}
    spec = found["spec"]
    assert (spec["completions"], spec["parallelism"]) == (20, 5)
    assert spec["completionMode"] == "Indexed" and spec["backoffLimitPerIndex"] == 3
    assert "backoffLimit" not in spec
    [rule] = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "Ignore"
    assert rule["onPodConditions"] == [{"type": "DisruptionTarget"}]
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never" and pod["terminationGracePeriodSeconds"] == 60
    [container] = pod["containers"]
    assert container["image"] == "lab/x:1" and "args" not in container
    words = [expanded(each) for each in container["command"]]
    assert words[: words.index("--")] == [
        "simgit", "worker", "run", "--remote", "s3://bucket/exp", "--name", "worker/{index}",
        "--endpoint", "http://ceph:1",
    ]  # fmt: skip
    assert words[words.index("--") + 1 :] == [*AWKWARD]
    assert container["env"] == [{"name": "TMPDIR", "value": "/scratch"}]
    assert container["envFrom"] == [{"secretRef": {"name": "aws-keys"}}]
    assert container["volumeMounts"] == [{"name": "scratch", "mountPath": "/scratch"}]
    assert pod["volumes"] == [{"name": "scratch", "emptyDir": {"sizeLimit": "4Gi"}}]


def test_a_remote_in_a_directory_is_mounted() -> None:
    for remote in ("/mnt/exp", "file:///mnt/exp"):
        found = yaml.safe_load(indexed_job(job(remote=remote, volume="shared")))
        pod = found["spec"]["template"]["spec"]
        assert {"name": "remote", "mountPath": "/mnt/exp"} in pod["containers"][0]["volumeMounts"]
        assert pod["volumes"][1]["persistentVolumeClaim"] == {"claimName": "shared"}
        with pytest.raises(InvalidInput, match="--volume"):
            indexed_job(job(remote=remote))


def test_what_cannot_be_a_job_is_refused() -> None:
    for options in (
        {"completions": 0}, {"parallelism": 0}, {"job": "A b"}, {"namespace": "x\n- y"},
        {"secret": "key: value"}, {"scratch": "lots"}, {"remote": "relative/path"},
        {"remote": "s3://key:secret@bucket/exp"},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            job(**options)
    with pytest.raises(InvalidInput, match="no command"):
        JobTemplate((), 1, 1, "s3://b/x")
    with pytest.raises(InvalidInput, match="image"):
        indexed_job(job(image=None))
    for options in ({"namespace": "x"}, {"secret": "x"}, {"volume": "x"}):
        with pytest.raises(InvalidInput, match="of Slurm has no"):
            slurm_array(job(**options))


def test_the_script_of_slurm_has_its_options() -> None:
    lines = slurm_array(job(image=None, completions=3, parallelism=9, job="walk")).splitlines()
    assert lines[0] == "#!/bin/bash"
    options = dict(each.removeprefix("#SBATCH ").partition("=")[::2] for each in lines[1:6])
    assert options == {
        "--job-name": "walk", "--array": "0-2%3", "--requeue": "", "--open-mode": "append",
        "--signal": "B:TERM@60",
    }  # fmt: skip
    assert (
        slurm_array(job(image="lab/x:1"))
        .splitlines()[-1]
        .startswith("exec apptainer exec docker://lab/x:1 simgit worker run")
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH whose ``simgit`` is the one that is tested."""
    script = tmp_path / "bin" / "simgit"
    script.parent.mkdir()
    script.write_text(
        f"#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} "
        '-m simgit "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"{script.parent}:{os.environ['PATH']}"


@pytest.mark.slow
def test_the_script_of_slurm_runs_each_task_under_its_index(tmp_path: Path, path: str) -> None:
    """The script is run as sbatch would, with the environment that a task gets."""
    told = (
        "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['SIMGIT_WORKER_NAME'], "
        "os.environ['SIMGIT_WORKER_REMOTE']]))"
    )
    script = tmp_path / "job.sh"
    remote = f"{tmp_path}/the remote's"
    script.write_text(
        slurm_array(job(sys.executable, "-c", told, *AWKWARD, remote=remote, image=None))
    )
    for index in (0, 17):
        done = subprocess.run(
            ["bash", script], capture_output=True, text=True, check=True, cwd=tmp_path,
            env=os.environ | {"SLURM_ARRAY_TASK_ID": str(index), "PATH": path},
        )  # fmt: skip
        assert json.loads(done.stdout) == [[*AWKWARD], f"worker/{index}", remote]


def run(*words: str, path: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simgit", *words], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip


@pytest.mark.slow
def test_a_program_runs_as_a_worker(tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    name = ("worker", "run", "--remote", remote, "--name", "worker/{index}")
    program = (
        "import simgit\n"
        "with simgit.worker.open(push_seconds=1.0) as work, work.recorder() as recorder:\n"
        "    recorder.append(1.0)\n"
    )
    done = run(*name, "--", sys.executable, "-c", program, JOB_COMPLETION_INDEX="4")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(*name, "--index", "6", "--", sys.executable, "-c", program, JOB_COMPLETION_INDEX="4")
    assert (done.returncode, done.stderr) == (0, "")
    with JobStatus(remote) as found:
        assert [row.index for row in found.look()] == [4, 6]
    assert run(*name, "--", "sh", "-c", "exit 7", SLURM_ARRAY_TASK_ID="1").returncode == 7
    killed = run(*name, "--index", "1", "--", "sh", "-c", "kill -TERM $$")
    assert killed.returncode == -15
    # a pipe whose reader has left ends a program as it would without simgit
    piped = subprocess.run(
        ["bash", "-c", shlex.join([sys.executable, "-m", "simgit", *name, "--index", "1", "--",
                                   "yes"]) + " | head -1; echo ${PIPESTATUS[0]}"],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert piped.stdout.split() == ["y", "141"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", "worker/{index}", "--", "true"), "there is no index"),
        (("--name", "worker 1", "--", "true"), "contains ' '"),
        (("--name", "w", "--keep", "tail", "--", "true"), "cannot do"),
        (("--name", "w", "--push-bytes", "x", "--", "true"), "push_bytes must be"),
        (("--name", "w", "--grace", "x", "--", "true"), "grace must be"),
        (("--name", "w", "--", "no-such-program"), "there is no such program"),
    ],
)
def test_a_worker_that_cannot_be_run_is_refused(words: tuple[str, ...], said: str) -> None:
    done = run("worker", "run", "--remote", "/tmp/x", *words)
    assert done.returncode in (2, 128) and said in done.stderr, done.stderr


# --- how they get on ---


def test_statuses_are_told_from_refs(tmp_path: Path) -> None:
    url = str(tmp_path / "remote")
    with JobStatus(url) as found:
        assert found.look() == []
    with simgit.worker.open(url, "worker/0") as work, work.recorder() as recorder:
        recorder.append(0)
    with pytest.raises(KeyError), simgit.worker.open(url, "worker/1") as work, work.recorder("a"):
        raise KeyError
    with (
        pytest.raises(KeyboardInterrupt),
        simgit.worker.open(url, "worker/3") as work,
        work.recorder() as recorder,
    ):
        recorder.append(3)
        raise KeyboardInterrupt
    with simgit.worker.open(url, "other/0") as work, work.recorder() as recorder:
        recorder.append(0)
    with simgit.worker.open(url, "worker/10") as work, work.recorder() as recorder:
        recorder.append(10)
        work.push()
        with JobStatus(url) as found:
            rows = found.look(1000.0)
            assert [(row.name, row.index, row.state) for row in rows] == [
                ("worker/0", 0, "done"), ("worker/1", 1, "failed"), ("worker/3", 3, "paused"),
                ("worker/10", 10, "running"),
            ]  # fmt: skip
            assert all(0 <= row.age < 100 for row in rows)
            assert missing(rows, 5) == [1, 2, 3, 4] and missing(rows, 1) == []
            time.sleep(0.5)
            assert found.look(0.1)[-1].state == "stuck"
    with JobStatus(url) as found:
        assert found.look(0.0)[-1].state == "done"


def test_a_look_lists_once_and_reads_what_has_changed() -> None:
    url = "memory://status"
    for index in range(30):
        with simgit.worker.open(url, f"worker/{index}") as work, work.recorder() as recorder:
            recorder.append(index)
    with JobStatus(url) as found:
        counts = found._connection.transport.counts
        found.look()
        first = counts.requests
        assert first <= 1 + 1 + 30 + 3  # what is there, the listing, the refs, the clock
        found.look()
        assert counts.requests == first + 1
        with simgit.worker.open(url, "worker/7") as work, work.recorder("more") as recorder:
            recorder.append(1)
        rows = found.look()
        assert counts.requests == first + 3 and rows[7].runs == 2
    assert isinstance(found._connection.transport, MemoryTransport)
    assert all(not each.key.startswith("probe/clock") for each in open_transport(url).list("probe"))


def test_ranges_are_as_sbatch_takes_them() -> None:
    assert ranges([]) == "" and ranges([3]) == "3"
    assert ranges([5, 1, 2, 3, 7, 8, 1]) == "1-3,5,7-8"


@pytest.mark.slow
def test_the_commands(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    said = run("job", "status", "--remote", str(remote))
    assert (said.returncode, said.stdout) == (0, "no worker has pushed yet\n")
    for index in (0, 2):
        with simgit.worker.open(remote, f"w/{index}") as work, work.recorder() as recorder:
            recorder.append(index)
    said = run(
        "-C", str(tmp_path), "job", "status", "--remote", "remote", "--prefix", "w", "--watch"
    )
    assert said.stdout.splitlines()[-1] == "2 done" and "w/2  done  pushed" in said.stdout
    said = run("job", "status", "--remote", str(remote), "--prefix", "w/", "--json")
    assert [json.loads(each)["state"] for each in said.stdout.splitlines()] == ["done", "done"]
    words = ("job", "missing", "--remote", str(remote), "--prefix", "w/", "--completions")
    assert run(*words, "6").stdout == "1,3-5\n" and run(*words, "1").stdout == ""
    assert json.loads(run(*words, "2", "--json").stdout) == {"missing": [1]}
    words = ("job", "render", "--completions", "4", "--remote", "s3://b/x")
    said = run(*words, "--kind", "indexed", "--image", "i", "--secret", "s", "--", *AWKWARD)
    command = yaml.safe_load(said.stdout)["spec"]["template"]["spec"]["containers"][0]["command"]
    assert [expanded(each) for each in command][-len(AWKWARD) :] == [*AWKWARD]
    said = run(*words, "--kind", "slurm", "--prefix", "sweep", "--", *AWKWARD)
    last = said.stdout.partition("exec ")[2]
    show = f"printf '%s\\0' {last}"  # as the shell of the script takes it
    given = subprocess.run(["bash", "-c", show], capture_output=True, text=True, check=True)
    assert given.stdout.split("\0")[-len(AWKWARD) - 1 : -1] == [*AWKWARD]
    assert "sweep/{index}" in last
    assert run(*words, "--kind", "indexed", "--", "x").returncode == 128
