"""The way to do here what git's words and options do: one table of each.

Each answer quotes commands that exist; the words in capitals are for the reader to fill in.
"""

from __future__ import annotations

import re
from typing import Final

_DELETE: Final = (
    "'simgit branch -d RUN' deletes a run, 'simgit tag -d TAG' a tag, "
    "'simgit attachments -d REVISION NAME' an attachment"
)
_EXPORT: Final = "'simgit bundle create FILE RUN' writes runs into a file for 'simgit import FILE'"
_APPLY: Final = "'simgit import FILE' reads the runs of a file of 'simgit bundle create FILE RUN'"
_GC: Final = "'simgit gc' does it, and 'simgit gc --dry-run' shows what it would remove"
_LOG: Final = "'simgit log --oneline' lists states, with --json for programs"
_OWN_RUN: Final = "'simgit checkout -b NAME REVISION' starts a run at a state"
_REFS: Final = "'simgit branch' lists the runs, 'simgit tag' the tags"
_NAMESPACE: Final = "the namespace is the trace's; --workload NAMESPACE/NAME chooses one"
_TASKS: Final = ("train", "evaluate", "step")
_UNCHANGED: Final = (
    f"history is never rewritten; {_OWN_RUN}, 'simgit reset REVISION' moves a run to one"
)

COMMANDS: Final = {
    "add": "'simgit commit --file PATH' records a file with a state",
    "amend": "'simgit undo' removes the last state from the run, then commit the right one",
    "annotate": "'simgit log --where CONDITION' finds the states where a value is reached",
    "apply": _APPLY,
    "archive": _EXPORT,
    "blame": "'simgit log --where CONDITION' finds the states where a value is reached",
    "cherry": "'simgit diff --runs RUN HEAD' shows what each of two histories has alone",
    "cherry-pick": f"a state belongs to its history; {_OWN_RUN}",
    "checkout-index": "'simgit restore --source HEAD PATH' restores files of a state",
    "clean": "'simgit status' lists untracked files, which simgit never removes",
    "count-objects": "'simgit stats' shows what takes the space",
    "delete": _DELETE,
    "describe": "'simgit log --oneline -n 1 REVISION' shows step, episode and refs of a state",
    "difftool": "'simgit diff REVISION HEAD' compares states field by field",
    "fast-export": "'simgit log --json --fields all --reverse' prints states one a line",
    "fast-import": "'simgit commit --stdin' records states from a pipe",
    "filter-branch": _UNCHANGED,
    "for-each-ref": _REFS,
    "format-patch": _EXPORT,
    "gitk": "'simgit log --graph --all --simplify' draws how runs fork",
    "grep": "'simgit log --where CONDITION' finds states by their values",
    "gui": "'simgit tree' shows the runs, 'simgit log --graph --all' the states",
    "history": "'simgit log' shows the states that lead to HEAD",
    "init-db": "'simgit init' creates a repository",
    "ls": _REFS,
    "ls-files": "'simgit ls-tree -r HEAD' lists the files of a state",
    "ls-remote": "'simgit remote show REMOTE' lists the refs of a remote",
    "maintenance": _GC,
    "mv": "'simgit branch -m OLD NEW' renames a run",
    "name-rev": "'simgit branch --contains REVISION' lists the runs that have a state",
    "notes": "'simgit attach REVISION NAME FILE' attaches a file to a state",
    "prune": _GC,
    "range-diff": "'simgit diff --runs RUN HEAD' compares two histories",
    "rebase": _UNCHANGED,
    "remove": _DELETE,
    "rename": "'simgit branch -m OLD NEW' renames a run",
    "repack": _GC,
    "replay": "'simgit verify RUN' re-executes a run and compares it state by state",
    "resume": "'simgit train --resume' resumes a training",
    "rev-list": _LOG,
    "revert": "'simgit undo OP' undoes an operation, 'simgit op log' lists them",
    "rm": f"a state has only the files that 'simgit commit --file PATH' names; {_DELETE}",
    "runs": "'simgit branch' lists the runs, 'simgit run list' with their returns",
    "shortlog": "'simgit log --episodes' shows one line per episode",
    "show-branch": "'simgit tree' shows which run was branched off which",
    "show-ref": _REFS,
    "stash": "'simgit checkout -b NAME', then 'simgit commit --file PATH' keeps files on a new run",
    "submodule": "'simgit clone SOURCE DIR' copies a repository to a directory of its own",
    "switch": "'simgit checkout RUN' points HEAD at a run, with -b NAME at a new one",
    "symbolic-ref": "'simgit status' shows where HEAD is, 'simgit checkout RUN' moves it",
    "tags": "'simgit tag' lists the tags",
    "update-ref": "'simgit branch -f NAME REVISION' moves a run",
    "version": "'simgit --version' prints the version",
    "whatchanged": _LOG,
    "worktree": "'simgit clone SOURCE DIR' copies a repository to a directory of its own",
    "bundle unbundle": "'simgit import FILE' imports a bundle",
    "remote remove": "'simgit remote rm REMOTE' removes a remote",
    "op undo": "'simgit undo' undoes the last operation",
    "op redo": "'simgit redo' redoes what was undone",
}
"""Command that is not here to the way to do it."""

_QUIET: Final = "append '> /dev/null' to the command"
_CHANGES: Final = "'simgit diff REVISION HEAD' compares states"
_ONE_FILE: Final = (
    "'simgit ls-tree -r HEAD' lists the files of a state, 'simgit show REVISION:PATH' prints one"
)
_FILES_STAY: Final = "'simgit reset REVISION' leaves the files of the working directory as they are"
_FILES: Final = "'simgit diff' compares all fields of two states, 'simgit status' the files"

OPTIONS: Final = {
    "-q": _QUIET,
    "--quiet": _QUIET,
    "--verbose": "'simgit branch -v' shows more, as 'simgit show REVISION' does of a state",
    "--author": "states have no author: 'simgit run set RUN author=ada' notes one for a run",
    "--global": "'simgit config' is of a run, 'simgit config --repository' of the repository",
    "--porcelain": "'simgit status --json' is for programs",
    "--format": "'simgit log --json --fields all' has all fields, for a program to format",
    "--pretty": "'simgit log --json --fields all' has all fields, for a program to format",
    "--bare": "a repository is its directory '.simgit'; 'simgit init DIR' creates one",
    "commit --amend": "'simgit undo' removes the last state from the run, then commit again",
    "commit -am": "'simgit commit --message TEXT --file PATH' records the files that it names",
    "commit --all": "'simgit commit --file PATH' records the files that it names",
    "commit --allow-empty": "'simgit commit --message TEXT' needs nothing else",
    "log --after": "'simgit log --since yesterday' shows states by when they were recorded",
    "log --before": "'simgit log --until yesterday' shows states by when they were recorded",
    "log --grep": "'simgit log --where CONDITION', as in \"'word' in message\"",
    "log -p": _CHANGES,
    "log --patch": _CHANGES,
    "log --stat": _CHANGES,
    "show -p": _CHANGES,
    "show --patch": _CHANGES,
    "show --stat": _CHANGES,
    "show --name-only": _ONE_FILE,
    "log --decorate": "'simgit log' always shows refs",
    "log --skip": "'simgit log REVISION' begins at an earlier state, as in 'main~100'",
    "diff --cached": _FILES,
    "diff --staged": _FILES,
    "diff --stat": _FILES,
    "diff --name-only": _FILES,
    "branch -c": "'simgit branch NEW OLD' creates a run where another is",
    "branch --copy": "'simgit branch NEW OLD' creates a run where another is",
    "checkout -B": "'simgit branch -f NAME REVISION' moves a run to a state",
    "restore --staged": "'simgit restore PATH' restores a file: there is no index between",
    "restore --worktree": "'simgit restore PATH' restores a file of HEAD's state",
    "reset --soft": _FILES_STAY,
    "reset --mixed": _FILES_STAY,
    "reset --keep": _FILES_STAY,
    "tag -a": "'simgit tag --message TEXT NAME' annotates a tag",
    "tag --annotate": "'simgit tag --message TEXT NAME' annotates a tag",
    "status -s": "'simgit status' is short; 'simgit status --json' is for programs",
    "status --short": "'simgit status' is short; 'simgit status --json' is for programs",
    "config --list": "'simgit config' lists the settings of HEAD's run",
    "config -l": "'simgit config' lists the settings of HEAD's run",
    "config --get": "'simgit config RUN' lists the settings of a run",
    "clone --branch": "'simgit clone --run RUN URL DIR' gets single runs of a remote",
    "push -f": "'simgit push --force-with-lease REMOTE RUN' replaces what was last seen there",
    "push --force": "'simgit push --force-with-lease REMOTE RUN' replaces what was last seen there",
    "push -u": "a run tracks the one of its name at origin; 'simgit push' needs no more",
    "push --set-upstream": "a run tracks the one of its name at origin; 'simgit push' is enough",
    "push --mirror": "'simgit push --all --tags REMOTE' sends all runs and tags",
    "fetch --all": "'simgit fetch REMOTE' gets all runs of a remote",
    "pull --rebase": f"history is never rewritten; {_OWN_RUN}",
    "gc --prune": "'simgit gc --grace now' removes unreachable objects at once",
    "fsck --full": "'simgit fsck' always checks everything, '--sample 1/7' a part",
    "fsck --unreachable": "'simgit gc --list-unreachable' lists unreachable objects",
    "fsck --lost-found": "'simgit gc --list-unreachable' lists unreachable objects",
    "rev-parse --abbrev-ref": "'simgit branch --show-current' prints the run of HEAD",
    **{f"{each} {name}": _NAMESPACE for each in _TASKS for name in ("--ns", "--namespace")},
    **dict.fromkeys(
        (f"{each} --policy" for each in _TASKS), "--agent NAME takes a policy or a run"
    ),
    "train --Naction": """--env-set 'actions=["noop","scale_up_replicas"]' names the actions""",
    "train --log-level": "--out DIR writes train.log",
}
"""``COMMAND OPTION``, or an option of any command, to the way to do it.

The last ones are those of Sim-Arena, the earlier agent loop. ``-am`` stands for itself: ``-a`` has
a value here, and the value 'm' is refused.
"""


FORMER: Final = {
    "--deploy": "--workload", "--checkpoint-interval": "--checkpoint-every",
    "--eps-start": "--epsilon", "--eps-end": "--epsilon-min", "--eps-decay": "--epsilon-steps",
    "--buffer-size": "--buffer", "--batch-size": "--batch", "--target-update": "--target-sync",
}  # fmt: skip
"""Option of Sim-Arena to the same one here, for commands that have it; no help shows them."""

VALUES: Final = {
    "commit action": "-a is --action here; 'simgit commit --file PATH' records the files it names",
}
"""``COMMAND NAME`` of an option that takes a value here but none in git, to the way to do it."""

FIRST: Final = {"kube": "pods", "run": "show", "op": "show", "bundle": "list", "trace": "show"}
"""Group of commands to the one that is meant by whoever leaves the command out."""

_FILE: Final = r"[^:]*:.+|.*[^/.]\.[A-Za-z]\w*"


def about_value(command: str | None, name: str | None) -> str:
    """Return ``: what to do instead`` for an option that was given without its value, or ''."""
    found = VALUES.get(f"{command} {name}")
    return f": {found}" if found else ""


def about_revision(text: str) -> str:
    """Return ``: what to do instead`` for a revision that names a file as in git, or ''."""
    return f": {_ONE_FILE}" if re.fullmatch(_FILE, text) else ""


def about_command(path: str) -> str:
    """Return ``: what to do instead`` for a command as it was typed, '' if git has none such."""
    return f": {COMMANDS[path]}" if path in COMMANDS else ""


def about_option(command: str, option: str) -> str:
    """Return ``: what to do instead`` for an option of a command, '' if git has none such."""
    found = OPTIONS.get(f"{command} {option}") or OPTIONS.get(option)
    return f": {found}" if found else ""
