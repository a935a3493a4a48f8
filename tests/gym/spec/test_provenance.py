"""What is kept of where a run comes from, and what is not: secrets, and more than is wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import simgit
from simgit.gym.spec import provenance
from simgit.gym.spec.masking import MASK, mask_arguments, mask_text
from simgit.gym.spec.provenance import Provenance, code_of, versions

SECRETS = [
    "password=hunter2",
    'API_KEY = "abcdefgh"',
    "aws_secret_access_key: wJalrXUtnFEMIbKd",
    "'token': 'abc123'",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "sk-abcdefghijklmnop1234",
    "AKIAIOSFODNN7EXAMPLE",
    "Authorization: Bearer abcdef123456",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "https://ada:lovelace@example.org/x",
    "x = 'Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZg'",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----",
]
HARMLESS = [
    "lr = 0.001",
    "token_count(text)",
    'token = os.environ["TOKEN"]',
    "secret = get_secret()",
    "password = None",
    "index 3f9a2c41..7f0e11d2 100644",
    "diff --git a/simgit/gym/recorder.py b/simgit/gym/recorder.py",
    "return observation, reward, terminated, truncated, info",
    "https://example.org/a/b?c=d",
    "commit 4d1e2459b4b1c4f7c0ad7a1e9e1a2c5b6d7e8f90",
    "test_an_environment_that_was_made_again_does_the_same",
    "/home/ada/projects/reinforcement_learning/experiments/cartpole.py",
]


@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    masked = mask_text(f"before {text} after")
    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    for part in ("hunter2", "abcdefgh", "lovelace", "wJalr", "abc123", "EXAMPLE", "Zm9v", "MIIE"):
        assert part not in masked


@pytest.mark.parametrize("text", HARMLESS)
def test_what_looks_like_none_stays(text: str) -> None:
    assert mask_text(text) == text


def test_the_values_of_secret_options_are_masked() -> None:
    given = ["train.py", "--api-key", "12345", "--token=abc", "--steps", "100", "--password", "-v"]
    wanted = [
        "train.py",
        "--api-key",
        MASK,
        f"--token={MASK}",
        "--steps",
        "100",
        "--password",
        "-v",
    ]
    assert mask_arguments(given) == wanted


# --- code --------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    (tmp_path / "train.py").write_text("lr = 0.1\n")
    git("add", "train.py")
    git("commit", "--quiet", "--message", "first")
    return tmp_path


def test_the_commit_and_the_diff_of_the_code_are_kept(project: Path) -> None:
    clean = code_of(project)
    assert clean is not None
    assert clean.diff is None
    assert clean.facts["changed"] is False
    assert len(clean.facts["commit"]) == 40
    (project / "train.py").write_text("lr = 0.2\npassword = 'hunter2'\n")
    (project / "other.py").write_text("")
    changed = code_of(project)
    assert changed is not None
    assert changed.facts == {**clean.facts, "changed": True, "untracked": ["other.py"]}
    assert changed.diff is not None
    assert "+lr = 0.2" in changed.diff
    assert "hunter2" not in changed.diff


def test_a_long_diff_is_cut(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "MAX_DIFF", 500)
    (project / "train.py").write_text("x = 'é'\n" * 1000)
    code = code_of(project)
    assert code is not None
    assert code.diff is not None
    assert len(code.diff.encode()) < 600
    assert code.diff.rstrip().endswith("more bytes are left out")


def test_a_diff_is_cut_before_it_is_masked_and_never_within_a_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "MAX_DIFF", 400)
    long = "x = 'M10.5 20.5 " * 1000
    (project / "train.py").write_text(f"a = 1\ntoken = 'ghp_{'a' * 500}'\n{long}\n")
    code = code_of(project)
    assert code is not None and code.diff is not None
    assert "+a = 1" in code.diff and "ghp_" not in code.diff and "M10" not in code.diff


@pytest.mark.parametrize("own", ["bin/simgit", "__main__.py"])
def test_the_code_is_not_that_around_the_command_of_simgit(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    monkeypatch.chdir(project)
    commit = Provenance.collect(arguments=["train.py"]).facts["code"]["commit"]
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "bin").mkdir(parents=True)
    (elsewhere / "bin" / "simgit").touch()
    script = Path(simgit.__file__).parent / own if own == "__main__.py" else elsewhere / own
    found = Provenance.collect(arguments=[str(script), "record", "x"])
    assert found.facts["code"]["commit"] == commit


def test_all_of_the_provenance_is_masked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "token=hunter2.py").write_text("")
    script = str(project / "train.py")
    found = Provenance.collect(arguments=["python", script, "--api-key", "hunter2", "--lr", "1"])
    assert found.facts["command"] == ["python", script, "--api-key", MASK, "--lr", "1"]
    assert found.facts["code"]["changed"] is False
    assert "hunter2" not in str(found.facts)


def test_code_outside_git_has_no_commit(tmp_path: Path) -> None:
    assert code_of(tmp_path) is None
    assert code_of(tmp_path / "gone") is None


def test_a_missing_git_is_no_error(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert code_of(project) is None


# --- versions and machine ----------------------------------------------------------------------


def test_the_versions_of_what_is_loaded_are_kept() -> None:
    import numpy as np

    found = versions("pytest", "not_loaded")
    assert found["numpy"] == np.__version__
    assert found["pytest"] == pytest.__version__
    assert "not_loaded" not in found


@pytest.mark.slow
def test_the_threads_of_torch_are_kept_if_it_is_loaded() -> None:
    program = (
        "from simgit.gym.spec.provenance import Provenance, torch_threads\n"
        "assert 'threads' not in Provenance.collect().facts\n"
        "import sys; assert 'torch' not in sys.modules\n"
        "import torch; torch.set_num_threads(1)\n"
        "facts = Provenance.collect().facts\n"
        "assert facts['threads'] == {'torch': 1, 'deterministic': False}\n"
        "assert 'torch' in facts['versions']\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_machine_is_the_same_each_time() -> None:
    one, two = Provenance.collect(), Provenance.collect()
    assert one.facts == two.facts
    assert one.facts["machine"]["cpus"] >= 1
    assert len(one.facts["machine"]["features"]) == 16


def test_a_long_command_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "a" * 5000, "b" * 5000])
    assert provenance.command() == ["python", "train.py", "a" * 5000, "…"]
