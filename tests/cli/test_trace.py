"""simgit trace: what it prints and writes, and that the traces that ship are what it makes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.cli.trace.generate import start
from simgit.kube.task.scenarios import SCENARIOS, generate, parse_scenario, scenario_name
from simgit.kube.trace.files import read_trace_file, trace_paths
from simgit.kube.trace.sktrace import dump_trace, trace_id
from tests.support.paths import TRACES


@pytest.fixture
def web(run, directory: Path) -> Path:
    run("trace", "generate", "cpu-slight", "-o", "web.sktrace")
    return directory / "web.sktrace"


def test_the_traces_that_ship_are_what_generate_makes(run, directory: Path) -> None:
    run("trace", "generate", "--all", "--out", "made")
    made = {path.name: path.read_bytes() for path in trace_paths(directory / "made")}
    assert made == {path.name: path.read_bytes() for path in trace_paths(TRACES)}
    assert len(made) == len(SCENARIOS)


def test_the_page_of_the_traces_that_ship_is_right() -> None:
    rows = re.findall(r"^\| \[(.*?)\]\((.*?)\) \| (.*?) \| (.*?) \| `(.*?)` \|$",
                      (TRACES / "README.md").read_text(), re.MULTILINE)  # fmt: skip
    assert rows == [
        (
            n,
            f"{n}.sktrace",
            start(generate(n)),
            str(generate(n).steps),
            f"simgit trace generate {n}",
        )
        for n in SCENARIOS
    ]


def test_generate_writes_each_combination_once(run, directory: Path) -> None:
    done = run("trace", "generate", "cpu-mem", "mem-slight", "--severities", "1,3..4", "--seeds", "0,0..1",
               "--out", "many", "--json")  # fmt: skip
    assert len(done.records) == 12 == len(trace_paths(directory / "many"))
    for record in done.records:
        path = directory / record["file"]
        again = parse_scenario(path.stem)
        assert record["id"] == trace_id(read_trace_file(path)) == trace_id(again.trace)
        assert (record["steps"], record["severity"]) == (again.steps, again.severity)


@given(
    st.sampled_from(SCENARIOS.names()), st.integers(1, 48), st.integers(0, 10**9), st.integers(1, 3)
)
def test_a_files_name_says_which_scenario_it_holds(
    name: str, severity: int, seed: int, target: int
) -> None:
    scenario = generate(name, severity=severity, seed=seed, target=target)
    assert parse_scenario(scenario_name(scenario)) == scenario


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["nope"], 128, "no scenario 'nope' (known: cpu-slight, "),
        (["cpu-slight", "--severity", "49"], 128, "severity must be in 1..48, got 49"),
        (["cpu-slight", "--severity", "5..1"], 2, "'5..1' is not a list of numbers"),
        (["cpu-slight", "--seeds", "0..1", "-o", "x"], 2, "--output is one file, but these are 2 traces"),
        (["cpu-slight", "--all"], 2, "name scenarios, or use --all"),
        ([], 2, "name scenarios, or use --all"),
        (["cpu-slight", "--target", "0"], 128, "target must be"),
    ],
)  # fmt: skip
def test_generate_refuses_what_has_no_meaning(
    run, args: list[str], code: int, said: str, directory: Path
) -> None:
    assert said in run("trace", "generate", *args, code=code).err
    assert not list(directory.iterdir())


def test_show_is_a_table_of_workloads_and_of_events_over_time(run, web: Path) -> None:
    run("trace", "edit", web, "-w", "web", "--replicas", 5, "-o", web)
    lines = run("trace", "show", web).lines
    assert lines[0].endswith("1 workload, 2 events, 60 s")
    assert lines[4].split() == ["default/web", "Deployment", "5", "17", "2Gi", "1", "0", "s"]
    assert lines[7:] == [" 0 s  + default/web", "60 s  nothing"]
    assert run("trace", "show", web, "--events").lines == lines[6:]
    found = run("trace", "show", web, "--json").json
    assert found["workloads"][0]["replicas"] == 5 and found["seconds"] == 60
    assert found["events"][0]["created"] == ["default/web"]


def test_diff_says_what_changed_in_a_line(run, web: Path) -> None:
    said = run("trace", "edit", web, "-w", "web", "--cpu", "16500m", "-o", "b.sktrace").lines
    assert run("trace", "diff", web, "b.sktrace").lines == said == ["web: cpu 17 → 16500m"]
    assert run("trace", "diff", web, "b.sktrace", "--json").json["after"] == "16500m"
    run("trace", "diff", web, "b.sktrace", "--exit-code", code=1)
    assert run("trace", "diff", web, web, "--exit-code").out == ""


def test_diff_tells_objects_of_one_name_apart(run, web: Path, directory: Path) -> None:
    run("trace", "convert", web, "one.json")
    plain = json.loads((directory / "one.json").read_text())
    (applied,) = plain["events"][0]["applied_objs"]
    other = json.loads(json.dumps(applied))
    other["metadata"]["namespace"] = "shop"
    plain["events"][0]["applied_objs"] = [applied, other]
    (directory / "two.json").write_text(json.dumps(plain))
    lines = run("trace", "edit", "two.json", "-w", "web", "--cpu", "1", "-o", "x.sktrace").lines
    assert lines == [f"apps/v1.Deployment {n}/web: cpu 17 → 1" for n in ("default", "shop")]
    run("trace", "edit", "two.json", "-w", "web", "-n", "shop", "--cpu", "1", "-o", "y.sktrace")
    assert run("trace", "diff", "two.json", "y.sktrace").lines == ["web: cpu 17 → 1"]
    run("trace", "filter", "two.json", "-n", "shop", "-o", "shop.sktrace")
    assert [
        r["namespace"] for r in run("trace", "show", "shop.sktrace", "--json").json["workloads"]
    ] == ["shop"]


def test_an_edit_that_cannot_be_done_names_what_is_there(run, web: Path, directory: Path) -> None:
    before = web.read_bytes()
    for args, said in (
        (["-w", "api", "--cpu", "1"], "no such workload 'api' in the trace (there are: default/web); "
         "choose one with --workload default/web"),
        (["-w", "wep", "--cpu", "1"], "in the trace; did you mean '--workload web'?"),
        (["-w", "web", "-c", "log", "--cpu", "1"], "no container 'log' in 'default/web'"),
        (["-w", "web", "-k", "StatefulSet", "--cpu", "1"], "no such workload 'StatefulSet web'"),
        (["-w", "web", "--cpu", "1x"], "1x"),
    ):  # fmt: skip
        assert said in run("trace", "edit", web, *args, "-o", web, code=128).err
    assert "give --cpu" in run("trace", "edit", web, "-w", "web", "-o", web, code=2).err
    assert web.read_bytes() == before and len(list(directory.iterdir())) == 1


def test_validate_names_each_object_that_a_cluster_would_refuse(
    run, web: Path, directory: Path
) -> None:
    run("trace", "convert", web, "web.json")
    plain = json.loads((directory / "web.json").read_text())
    (first,) = plain["events"][0]["applied_objs"][:1]
    second = json.loads(json.dumps(first))
    container = first["spec"]["template"]["spec"]["containers"][0]
    container["resources"]["requests"]["cpu"] = "abc"
    second["spec"]["replicas"] = -1
    plain["events"].append({"ts": 2**31, "applied_objs": [second], "deleted_objs": []})
    (directory / "bad.json").write_text(json.dumps(plain))
    at = f"events[{len(plain['events']) - 1}].applied_objs[0].spec.replicas"
    cpu = "events[0].applied_objs[0].spec.template.spec.containers[0].resources.requests.cpu"
    done = run("trace", "validate", "bad.json", code=1)
    assert done.lines[0].startswith("invalid: 'bad.json' is not a valid trace: invalid Deployment ")
    assert "bad quantity 'abc'" in done.lines[0] and done.lines[0].endswith(f" at '{cpu}'")
    assert "Invalid value: -1" in done.lines[1] and done.lines[1].endswith(f" at '{at}'")
    found = run("trace", "validate", "bad.json", "--json", code=1).json
    assert not found["valid"] and found["path"] == cpu
    assert [each["path"] for each in found["errors"]] == [cpu, at]


def test_validate_warns_of_stale_hashes_and_refuses_what_is_no_trace(
    run, web: Path, directory: Path
) -> None:
    assert run("trace", "validate", web).lines == [f"valid: {web}"]
    run("trace", "edit", web, "-w", "web", "--cpu", "16", "-o", "stale.sktrace")
    assert run("trace", "validate", "stale.sktrace").lines == [
        "warning: stale.sktrace: index.apps/v1.Deployment.default/web is stale",
        "valid: stale.sktrace, 1 warning",
    ]
    run("trace", "validate", "--strict", "stale.sktrace", code=1)
    run("trace", "edit", web, "-w", "web", "--cpu", "16", "--rehash", "-o", "fresh.sktrace")
    run("trace", "validate", "--strict", "fresh.sktrace")
    (directory / "cut.sktrace").write_bytes(web.read_bytes()[:-9])
    (directory / "old.sktrace").write_bytes(b"\x94\x01\x90\x80\x80")
    done = run("trace", "validate", web, "cut.sktrace", "old.sktrace", code=1)
    assert (
        done.lines[0] == f"valid: {web}"
        and "'cut.sktrace' is not a valid trace: trunc" in done.lines[1]
    )
    assert "SimKube 1.1.1" in done.lines[2]
    assert (
        "cannot read 'gone.sktrace': no such file"
        in run("trace", "validate", "gone.sktrace", code=128).err
    )


def test_an_error_names_the_place_in_the_trace(run, web: Path, directory: Path) -> None:
    run("trace", "convert", web, "web.json")
    text = (
        (directory / "web.json")
        .read_text()
        .replace('"name": "web",\n            "namespace"', '"namespace"')
    )
    (directory / "bad.json").write_text(text)
    found = run("trace", "validate", "bad.json", "--json", code=1).json
    assert found["path"] == "events[0].applied_objs[0].metadata.name"


def test_convert_loses_nothing_either_way(run, web: Path, directory: Path) -> None:
    run("trace", "convert", web, "web.json")
    hashes = json.loads((directory / "web.json").read_text())["index"]["apps/v1.Deployment"]
    assert isinstance(hashes["default/web"], str)
    run("trace", "convert", "web.json", "back.sktrace")
    original = read_trace_file(web)
    assert read_trace_file(directory / "back.sktrace") == original
    assert (directory / "back.sktrace").read_bytes() == dump_trace(generate("cpu-slight").trace)
    assert (
        "must end with '.json'" in run("trace", "convert", web, "a.txt", "--to", "json", code=2).err
    )


def test_convert_says_what_it_does_not_keep_byte_by_byte(run, web: Path, directory: Path) -> None:
    assert run("trace", "convert", web, "web.json").err == ""
    assert run("trace", "convert", "web.json", "back.sktrace").err == ""  # as written here
    data = msgpack.unpackb(web.read_bytes(), strict_map_key=False)
    other = {key: data[key] for key in reversed(list(data))}
    (directory / "other.sktrace").write_bytes(msgpack.packb(other))
    size = (directory / "other.sktrace").stat().st_size
    assert run("trace", "convert", "other.sktrace", "same.msgpack").err == ""
    assert (directory / "same.msgpack").read_bytes() == (directory / "other.sktrace").read_bytes()
    assert run("trace", "convert", "other.sktrace", "other.json").err == (
        "warning: 'other.sktrace' is converted in content, not byte by byte; not kept: the order "
        f"of keys, sizes of numbers ({size} bytes, converted back {web.stat().st_size})\n"
    )
    (directory / "more.sktrace").write_bytes(msgpack.packb(data | {"note": 1}))
    said = run("trace", "convert", "more.sktrace", "more.json").err
    assert "not kept: fields that no trace has, such as 'note'; the order" in said
    compact = json.dumps(json.loads((directory / "web.json").read_text()))
    (directory / "compact.json").write_text(compact)
    assert "white space" in run("trace", "convert", "compact.json", "compact.sktrace").err
    assert read_trace_file(directory / "compact.sktrace") == read_trace_file(web)


@pytest.mark.slow
def test_traces_go_through_pipes(process, run, directory: Path) -> None:
    run("trace", "generate", "cpu-slight", "-o", "web.sktrace")
    data = (directory / "web.sktrace").read_bytes()
    as_json = process("trace", "convert", "-", "-", "--to", "json", stdin=data).out
    assert json.loads(as_json)["version"] == 2
    assert process("trace", "validate", "-", stdin=as_json.encode()).lines == ["valid: -"]
    bad = process("trace", "show", "-", stdin=b"{")
    assert bad.code == 128 and bad.err.startswith(
        "fatal: 'standard input' is not a valid trace: not JSON"
    )


def test_filter_keeps_a_range_of_time(run, web: Path) -> None:
    assert run("trace", "filter", web, "--from", "30s", "-o", "late.sktrace").lines == [
        "1 → 1 workloads", "2 → 2 events", "60 → 30 s",
    ]  # fmt: skip
    assert (
        run("trace", "filter", web, "--duration", "10s", "-o", "cut.sktrace", "--json").json[
            "events"
        ]
        == 2
    )
    assert (
        "duration must be like 90s or 1h30m, got 'soon'"
        in run("trace", "filter", web, "--to", "soon", "-o", "x", code=128).err
    )


@pytest.mark.slow
def test_plot_shows_how_full_nodes_are(run, web: Path, directory: Path) -> None:
    run("trace", "edit", web, "-w", "web", "--cpu", "16", "-o", web)
    lines = run("trace", "plot", web, "--nodes", 2).lines
    assert lines[1].split()[:2] == ["node1", "CPU"] and lines[1].endswith("100 %    100 %")
    assert lines[5].split()[0] == "ready" and lines[6].split()[-1] == "1"
    assert lines[7] == "from second 0 to 60"
    run("trace", "plot", web, "-o", "usage.svg")
    assert b"web on 3 nodes" in (directory / "usage.svg").read_bytes()
    assert run("trace", "plot", web, "--json").json["pending"][-1] == 0
    assert "must end in .png or .svg" in run("trace", "plot", web, "-o", "usage.txt", code=128).err
