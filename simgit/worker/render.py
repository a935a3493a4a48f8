"""Descriptions of jobs with many workers, for Kubernetes and for Slurm; nothing is submitted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from simgit.errors import InvalidInput, shown, visible
from simgit.objects.coerce import check_number

SCRATCH: Final = "/scratch"
"""Where the local repositories of the workers are, in a pod."""
_NAME: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_QUANTITY: Final = r"[0-9]+(\.[0-9]+)?([KMGT]i?)?"


@dataclass(frozen=True)
class JobTemplate:
    """A job whose workers run one command, each under its index.

    Attributes:
        command: the command and its arguments.
        completions: how many workers there are.
        parallelism: how many of them run at once.
        remote: the URL of the remote.
        image: the image of the container; None for none (Slurm only).
        job: the job's name.
        prefix: what the names of the workers begin with; the index follows.
        namespace: the namespace, None for kubectl's.
        secret: the name of the secret whose keys become environment variables, for instance
            ``AWS_ACCESS_KEY_ID``; None for none.
        volume: the name of the claim of a volume that is mounted at the remote's directory.
        scratch: the most bytes of a pod's local repository.
        options: further options of ``simgit worker run``.
    """

    command: Sequence[str]
    completions: int
    parallelism: int
    remote: str
    image: str | None = None
    job: str = "simgit"
    prefix: str = "worker/"
    namespace: str | None = None
    secret: str | None = None
    volume: str | None = None
    scratch: str = "8Gi"
    options: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check what is given.

        Raises:
            InvalidInput: something cannot be.
        """
        if not self.command:
            raise InvalidInput("there is no command to run; give it after '--'")
        check_number(self.completions, "completions", 1, whole=True)
        check_number(self.parallelism, "parallelism", 1, whole=True)
        names = {"job": self.job, "namespace": self.namespace, "secret": self.secret,
                 "volume": self.volume}  # fmt: skip
        for what, name in names.items():
            if name is not None and not re.fullmatch(_NAME, name):
                raise InvalidInput(
                    f"{what} {shown(name)} must have lower-case letters, digits and '-' only",
                    name=name,
                )
        if not re.fullmatch(_QUANTITY, self.scratch):
            raise InvalidInput(f"scratch must be a size such as 8Gi, got {shown(self.scratch)}")
        if "@" in urlsplit(self.remote).netloc:
            raise InvalidInput(
                "the URL of the remote has a user's name or password; put it into a secret instead"
            )
        if "://" not in self.remote and not Path(self.remote).is_absolute():
            raise InvalidInput(f"the remote must be an absolute path or a URL, got '{self.remote}'")

    @property
    def directory(self) -> str | None:
        """The directory of the remote; None for a bucket."""
        if "://" not in self.remote:
            return self.remote
        return urlsplit(self.remote).path if self.remote.startswith("file://") else None

    @property
    def words(self) -> list[str]:
        """The command of a worker."""
        return [
            "simgit", "worker", "run", "--remote", self.remote, "--name", f"{self.prefix}{{index}}",
            *self.options, "--", *self.command,
        ]  # fmt: skip


def indexed_job(job: JobTemplate) -> str:
    """Return the manifest of an Indexed Job of Kubernetes.

    Raises:
        InvalidInput: there is no image, or a remote in a directory without a volume.
    """
    if job.image is None:
        raise InvalidInput("a job of Kubernetes needs an image; give it with --image")
    if job.directory is not None and job.volume is None:
        raise InvalidInput(
            "pods share a remote in a directory by a volume; name its claim with --volume, or use "
            "an s3:// remote"
        )
    # Kubernetes replaces $(NAME) in commands; two dollars are one
    words = [_quoted(each.replace("$", "$$")) for each in job.words]
    lines = [
        "apiVersion: batch/v1",
        "kind: Job",
        "metadata:",
        f"  name: {_quoted(job.job)}",
        *([f"  namespace: {_quoted(job.namespace)}"] if job.namespace else []),
        "spec:",
        f"  completions: {job.completions}",
        f"  parallelism: {min(job.parallelism, job.completions)}",
        "  completionMode: Indexed",
        "  backoffLimitPerIndex: 3",
        "  podFailurePolicy:",
        "    rules:",
        "      - action: Ignore # preemption and drained nodes are no failures",
        "        onPodConditions:",
        "          - type: DisruptionTarget",
        "  template:",
        "    spec:",
        "      restartPolicy: Never",
        "      terminationGracePeriodSeconds: 60",
        "      containers:",
        "        - name: worker",
        f"          image: {_quoted(job.image)}",
        "          command:",
        *[f"            - {word}" for word in words],
        "          env:",
        "            - name: TMPDIR",
        f"              value: {SCRATCH}",
    ]
    if job.secret is not None:
        lines += [
            "          envFrom:",
            "            - secretRef:",
            f"                name: {_quoted(job.secret)}",
        ]
    lines += [
        "          volumeMounts:",
        "            - name: scratch",
        f"              mountPath: {SCRATCH}",
    ]
    if job.directory is not None:
        lines += [
            "            - name: remote",
            f"              mountPath: {_quoted(job.directory)}",
        ]
    lines += [
        "      volumes:",
        "        - name: scratch",
        "          emptyDir:",
        f"            sizeLimit: {job.scratch}",
    ]
    if job.directory is not None:
        lines += [
            "        - name: remote",
            "          persistentVolumeClaim:",
            f"            claimName: {_quoted(str(job.volume))}",
        ]
    return "\n".join(lines) + "\n"


def slurm_array(job: JobTemplate) -> str:
    """Return the script of an array job of Slurm, for ``sbatch``.

    Raises:
        InvalidInput: something is given that only Kubernetes has.
    """
    for what, value in (("namespace", job.namespace), ("secret", job.secret),
                        ("volume", job.volume)):  # fmt: skip
        if value is not None:
            raise InvalidInput(f"a job of Slurm has no {what}")
    words = job.words
    if job.image is not None:
        image = (
            job.image
            if "://" in job.image or job.image.endswith(".sif")
            else f"docker://{job.image}"
        )
        words = ["apptainer", "exec", image, *words]
    return f"""\
#!/bin/bash
#SBATCH --job-name={job.job}
#SBATCH --array=0-{job.completions - 1}%{min(job.parallelism, job.completions)}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
# keys of the remote come from the environment of sbatch, or from ~/.aws
exec {" ".join(map(_word, words))}
"""


def _word(text: str) -> str:
    """Return a word of a command for bash; what a terminal obeys or hides is escaped in it."""
    if visible(text) == text:
        return shlex.quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(c if visible(c) == c else f"\\U{ord(c):08x}" for c in plain) + "'"


def _quoted(text: str) -> str:
    """Return a text as a string of YAML."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if visible(c) == c else f"\\U{ord(c):08x}" for c in plain) + '"'
