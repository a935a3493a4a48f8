"""The commands by what they are for, as data, and the screen that bare ``simgit`` shows.

This needs no other module, so that it is there at once.
"""

from __future__ import annotations

from typing import Final

COMMANDS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Record": {
        "init": ("init", "Create a repository."),
        "record": ("record", "Record a Gymnasium environment while a policy acts in it."),
        "commit": ("commit", "Record a state, or a stream of states."),
    },
    "Look": {
        "status": ("status", "Show where HEAD is, and which files have changed."),
        "log": ("log", "Show the states that lead to a revision."),
        "show": ("show", "Show a state, a run or a tag with its values."),
        "diff": ("diff", "Compare states, runs or configurations."),
        "tree": ("tree", "Show which run was branched off which."),
        "sql": ("sql", "Query runs, episodes and states in SQL."),
        "plot": ("plot", "Plot returns and lengths of runs over episodes."),
        "video": ("video", "Render recorded states as a film."),
        "play": ("play", "Take over with the keyboard at a recorded state."),
        "reflog": ("reflog", "Show the earlier values of a ref."),
        "lineage": ("lineage", "Show the runs that a run was branched off."),
        "children": ("children", "List the states that follow a state."),
        "leaves": ("children", "List the states that nothing follows."),
        "merge-base": ("merge_base", "Find the common ancestor of two revisions."),
    },
    "Branch": {
        "branch": ("branch", "List, create, rename or delete runs."),
        "checkout": ("checkout", "Point HEAD at a run or a state."),
        "reset": ("reset", "Move a run to another state, under the same name."),
        "restore": ("restore", "Restore files of a state in the working directory."),
        "undo": ("undo", "Undo an operation."),
        "redo": ("undo", "Redo the operation that was undone last."),
        "op": ("op", "List, show and restore operations."),
        "tag": ("tag", "List, create or delete tags."),
        "config": ("config", "Show or change the configuration of a run."),
        "run": ("run", "List and show runs, and set their status."),
        "attach": ("attach", "Attach a file to a state."),
        "attachments": ("attach", "List, print or remove the attachments of a state."),
    },
    "Simulate": {
        "sim": ("sim.group", "Start, watch, ask, steer and stop simulations."),
        "train": ("train", "Train an agent, or resume a training."),
        "evaluate": ("evaluate", "Measure how good an agent is."),
        "merge": ("merge", "Average several agents into one."),
    },
    "SimKube": {
        "trace": ("trace.group", "Generate, show, change and check traces."),
        "step": ("step", "Take one step of an agent on a trace, and show all of it."),
        "kube": ("kube", "Show the cluster of a recorded state, or of a trace."),
    },
    "Check": {
        "verify": ("verify", "Re-execute a run and compare it state by state."),
        "bisect": ("bisect", "Find the first state in which two runs differ."),
        "what-if": ("what_if", "Try actions from a state, many times, in parallel."),
        "doctor": ("doctor", "Test whether an environment can be restored exactly."),
        "provenance": ("provenance", "Show what is recorded of where a run comes from."),
        "trust": ("trust", "Allow this repository to name code that is executed."),
    },
    "Copy": {
        "clone": ("clone", "Copy a repository or a remote."),
        "remote": ("remote", "List, add and remove remotes."),
        "push": ("push", "Send runs to a remote."),
        "fetch": ("fetch", "Get runs of a remote."),
        "pull": ("fetch", "Fetch runs, and move those here forward."),
        "bundle": ("bundle", "Write runs and tags into a file, and inspect one."),
        "export": ("export", "Write runs into a file of another format."),
        "import": ("import_", "Import the runs of a bundle or of another file."),
        "serve": ("serve", "Serve the repository over HTTP."),
        "worker": ("worker", "Run programs as workers that push to one remote."),
        "job": ("job", "Describe jobs of many workers, and see how they get on."),
    },
    "Maintain": {
        "gc": ("gc", "Remove unreachable objects and free their space."),
        "purge": ("purge", "Remove runs for good, and free their space."),
        "stats": ("stats", "Show what takes the space."),
        "fsck": ("fsck", "Check every hash and every link."),
        "rev-parse": ("rev_parse", "Print the full oids of revisions."),
        "cat-file": ("cat_file", "Print an object, its kind or its size."),
        "ls-tree": ("ls_tree", "List the entries of a tree of files."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
"""Section to command to (module in this package, one line of help)."""

DAILY: Final = (
    "init", "record", "commit", "status", "log", "show", "diff", "branch", "checkout", "undo",
)  # fmt: skip
"""The commands of daily use."""

FLAT: Final = {name: where for section in COMMANDS.values() for name, where in section.items()}


def overview() -> str:
    """Return the first screen: the commands of daily use, and the others by what they are for."""
    lines = [
        "Usage: simgit [-C DIR] COMMAND [ARGS]…",
        "Git for simulations: every state of every run is kept and can be branched from.",
        "",
        *(f"  {name:9} {FLAT[name][1]}" for name in DAILY),
        "",
    ]
    for section, commands in COMMANDS.items():
        rest = " ".join(name for name in commands if name not in DAILY)
        lines += [f"  {section:9} {rest}"] if rest else []
    return "\n".join([
        *lines, "",
        "'simgit help COMMAND' explains a command, 'simgit help --all' lists all of them.",
    ])  # fmt: skip
