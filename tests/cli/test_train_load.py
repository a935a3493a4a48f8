"""simgit train --load, --save and hooks; options of the earlier loop."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from simgit import Repository, agents
from simgit.cli.git_words import FORMER
from simgit.cli.train import AGENT
from tests.cli.conftest import Call

QUICK = ("--agent", "greedy", "--episodes", 2, "--checkpoint-every", 1, "--trials", 0)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to which the fixture ``repo`` writes a training once."""
    return tmp_path_factory.mktemp("template")


@pytest.fixture
def repo(run: Call, directory: Path, template: Path) -> Call:
    if not (template / "a.json").exists():
        Repository.init(template).close()
        run("-C", template, "train", "--trace", "cpu-slight", "--target", 4, *QUICK, "--run", "a",
            "--save", "a.json")  # fmt: skip
    shutil.copytree(template, directory, dirs_exist_ok=True)
    return run


@pytest.mark.slow
def test_a_run_begins_with_the_agent_of_another_on_another_trace(repo: Call) -> None:
    done = repo("train", "--load", "a", "--trace", "mem-slight", "--episodes", 1)
    assert done.lines[0].startswith("train/mem-slight-greedy-1: 1 episode, ")
    assert done.err.startswith("agent of 'a' at ") and ": continued\n" in done.err
    with Repository.open(".") as there:
        config = there.runs["train/mem-slight-greedy-1"].config
        assert config["training"]["load"]["from"] == "a"
        assert config["environment"] == {
            "id": "simgit/SimKube-v0", "trace": "mem-slight", "target": 4,
        }  # fmt: skip
        assert there.origin("train/mem-slight-greedy-1")["environment"]["kwargs"]["target"] == 4
    shown = repo("lineage", "train/mem-slight-greedy-1").out
    assert "agent of a at " in shown


@pytest.mark.slow
def test_without_a_trace_it_is_trained_where_it_was(repo: Call) -> None:
    done = repo("train", "--load", "a", "--transfer", "--episodes", 1, "--json").json
    assert done["run"] == "train/cpu-slight-greedy-1"


@pytest.mark.slow
def test_a_saved_file_is_loaded_and_evaluated_also_from_elsewhere(
    repo: Call, directory: Path
) -> None:
    assert agents.read_checkpoint(directory / "a.json")["trained_in"]["vector"] == "base"
    done = repo("train", "--load", "a.json", "--trace", "cpu-slight", "--episodes", 1)
    assert "agent of 'a.json': continued" in done.err
    (directory / "below").mkdir()
    elsewhere = ("-C", directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory / "below")
        repo(*elsewhere, "evaluate", "a.json", "--no-record")
        repo(*elsewhere, "train", "--load", "a.json", "--episodes", 1)
        repo("step", "--trace", "cpu-slight", "--agent", "../a.json")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--load", "a", "--resume"), 2, "--load and --resume cannot be used together"),
        (("--transfer",), 2, "--transfer needs --load RUN|FILE"),
        (("--load", "a", "--agent", "dqn"), 2, "is 'greedy', not 'dqn'; leave --agent out"),
        (("--load", "a", "--vector", "scale"), 128, "on vector 'base', not 'scale'"),
        (("--load", "nobody"), 128, "nobody"),
        (("--load", "a", "--env", "CartPole-v1"), 128, "on observations of size 5, not 4"),
        (("--agent", "sb3:PPO", "--load", "a"), 2, "--load does not go with agents 'sb3:…'"),
        (("--agent", "sb3:PPO", "--save", "f"), 2, "--save does not go with agents 'sb3:…'"),
        (("--save", "no/f.pt"), 128, "cannot write 'no/f.pt': directory 'no' not found"),
        (("--save", "."), 128, "cannot write '.': it is a directory"),
        (("--hook-timeout", "5"), 2, "--hook-timeout needs --pre-hook or --post-hook"),
        (("--pre-hook", "no-such-program x"), 128, "program 'no-such-program' not found"),
        (("--pre-hook", "false"), 128, "pre-hook 'false' exited with 1"),
        (("--pre-hook", "sleep 60", "--hook-timeout", "0.1"), 128, "took longer than 0.1 s"),
        (("--steps", "9"), 2, "others count --episodes, of at most --max-steps"),
    ],
)
def test_what_makes_no_sense_is_refused(
    repo: Call, words: tuple[str, ...], code: int, said: str
) -> None:
    found = repo("train", *words, code=code)
    assert said in found.err.splitlines()[0], found.err
    assert [each["name"] for each in repo("run", "list", "--json").records] == ["a"]


@pytest.mark.slow
def test_hooks_run_before_and_after_a_training_and_no_shell_expands_them(
    repo: Call, directory: Path
) -> None:
    repo("train", *QUICK, "--pre-hook", "touch '$HOME' a*b", "--post-hook", "touch after")
    assert {"$HOME", "a*b", "after"} <= {each.name for each in directory.iterdir()}


@pytest.mark.slow
def test_a_loaded_agents_training_may_have_other_nodes(repo: Call) -> None:
    repo("train", "--load", "a", "--nodes", "2", "--episodes", 1, "--run", "b")
    assert len(repo("kube", "nodes", "b@1", "--json").records) == 2
    known = [repo("config", run, "--json").json["environment"] for run in "ab"]
    assert known[1] == {**known[0], "nodes": 2}


@pytest.mark.parametrize(
    ("pair", "option"),
    [
        ("environment.trace=x", "--trace FILE"), ("environment.target=9", "--target …"),
        ("target=9", "--target …"), ("training.load.from=b", "--trace FILE"),
        ("environment.nodes=5", "--nodes …"), ("environment.max_steps=5", "--max-steps …"),
        ("environment.cluster.speed=5", "--cluster …"),
        ("environment.faults.slow=5", "--env-set faults=…"),
    ],
)  # fmt: skip
def test_a_branch_with_another_environment_is_refused_at_once(
    repo: Call, pair: str, option: str
) -> None:
    for words in (("branch", "b", "a", "--set", pair), ("config", "a", pair)):
        found = repo(*words, code=128)
        assert f"cannot set '{pair.partition('=')[0]}'" in found.err
        assert f"simgit train --load RUN {option}' begins another" in found.err
    assert "b" not in [each["name"] for each in repo("run", "list", "--json").records]


# --- the options of the earlier loop ---


@pytest.mark.slow
def test_its_names_of_options_work_and_no_help_shows_them(repo: Call) -> None:
    names = {
        "--eps-start": 0.5, "--eps-end": 0.2, "--eps-decay": 50, "--checkpoint-interval": 1,
    }  # fmt: skip
    words = [word for pair in names.items() for word in pair]
    repo("train", "--deploy", "web", *QUICK[:4], *words, "--run", "b")
    repo("train", "--deploy=web", *QUICK[:4], "--eps-start=0.5", "--run", "c")
    with Repository.open(".") as there:
        agent, training = (there.runs["b"].config[each] for each in ("agent", "training"))
        assert (agent["epsilon"], agent["epsilon_min"], agent["epsilon_steps"]) == (0.5, 0.2, 50)
        assert training["checkpoint"] == 1
        assert there.runs["b"].config["environment"]["workload"] == "web"
        assert there.runs["c"].config["agent"]["epsilon"] == 0.5
    text = repo("train", "--help").out
    assert not any(f"{each} " in text for each in FORMER)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("train", ("--ns", "virtual-default"), "the namespace is the trace's; --workload"),
        ("evaluate", ("--namespace", "x"), "the namespace is the trace's; --workload"),
        ("train", ("--Naction", "4"), "names the actions"),
        ("train", ("--log-level", "DEBUG"), "--out DIR writes train.log"),
        ("train", ("--policy", "noop"), "--agent NAME takes a policy"),
    ],
)
def test_options_of_it_that_are_not_here_say_what_to_type(
    repo: Call, command: str, words: tuple[str, ...], said: str
) -> None:
    lines = repo(command, *words, code=2).err.splitlines()
    assert len(lines) == 1 and said in lines[0]


@pytest.mark.slow
def test_the_settings_of_those_hints_are_taken(repo: Call) -> None:
    repo("train", *QUICK, "--env-set", 'actions=["noop","bump_cpu_small"]',
         "--env-set", 'simulation={"duration": 90}')  # fmt: skip


def test_the_help_says_the_defaults_that_the_settings_have() -> None:
    defaults = agents.defaults("dqn")
    words = {True: "on", False: "off"}
    for name, text in AGENT.items():
        value = defaults[name]
        shown = words[value] if isinstance(value, bool) else str(value).removesuffix(".0")
        assert f"(default {shown}" in text, name
