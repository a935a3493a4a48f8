"""Logs, merge bases, and what revisions resolve to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.refs.names import HEAD, RUNS, TAGS
from simgit.repository.base import RepositoryBase
from simgit.storage.base import ReadTxn

if TYPE_CHECKING:
    from simgit.history import log as logs


class HistoryOperations(RepositoryBase):
    """Logs, merge bases, and what revisions resolve to."""

    def merge_base(self, a: str | Oid, b: str | Oid) -> Oid | None:
        """Return the best common ancestor of two states, None if they have none."""
        found = self.merge_bases(a, b)
        return found[0] if found else None

    def merge_bases(self, a: str | Oid, b: str | Oid) -> list[Oid]:
        """Return all best common ancestors of two states (several only after merges)."""
        with self._read() as txn:
            places = ancestry.merge_bases(
                self.odb, txn, self._resolve(txn, a).place, self._resolve(txn, b).place
            )
            return [self.odb.states.state(txn, place)[0] for place in places]

    def log(
        self,
        *revisions: str | Oid,
        every: bool = False,
        limit: int | None = None,
        reverse: bool = False,
        where: str | None = None,
    ) -> Iterator[logs.LogLine]:
        """Yield what leads to states, newest first and children before parents, as plain lines.

        Args:
            revisions: states, ranges (``a..b``, ``a...b``) and ``^a`` for what to leave out; HEAD
                if there are none.
            every: begin at all runs, tags and HEAD.
            limit: so many lines at most, the newest.
            reverse: the oldest of them first.
            where: only the states that fulfil a condition, for instance
                ``reward > 0 and terminated``; see simgit/predicate.py.

        Raises:
            NotFound: see ``resolve``.
            InvalidInput: a revision or the condition cannot be read.
        """
        from simgit.history import log as logs

        with self._read() as txn:
            wanted = self._selection(txn, revisions, every)
            most = limit if where is None else None
            ranges = logs.limited(logs.ordered(self.odb, txn, wanted), most)
        if where is not None:
            matching = islice(logs.matching(self.odb, ranges, where), limit)
            yield from reversed(list(matching)) if reverse else matching
            return
        for page in logs.pages(self.odb, ranges, reverse):
            yield from page

    def outline(
        self, *revisions: str | Oid, every: bool = False, limit: int | None = None
    ) -> list[logs.LogLine]:
        """Return the lines of ``log`` where something happens: tips, tags, forks and merges."""
        from simgit.history import log as logs

        with self._read() as txn:
            wanted = self._selection(txn, revisions, every)
            cuts = tuple(self.odb.locate(txn, ref.oid) for _, ref in self.refs.tags(txn))
            cuts += tuple(self._tips(txn))
            wanted = logs.LogSelection(wanted.tips, wanted.exclude, cuts)
            return logs.outline(self.odb, txn, wanted, limit)

    def episodes(self, revision: str | Oid = HEAD) -> list[logs.EpisodeLine]:
        """Return the episodes of a state's history, the newest first."""
        from simgit.history import log as logs

        with self._read() as txn:
            tip = self._resolve(txn, revision).place
            return list(logs.episodes(self.odb, txn, tip))

    def rev_parse(self, text: str) -> list[tuple[Oid, bool]]:
        """Return the states that a revision or a range names, each with whether it is left out.

        Raises:
            NotFound: see ``resolve``.
            InvalidInput: see ``resolve``.
        """
        with self._read() as txn:
            ends = self.revisions.resolve_range(txn, text)
            if ends is None:
                excluded = text.startswith("^") and len(text) > 1
                return [(self._resolve(txn, text[excluded:]).oid, excluded)]
            a, b = ends.start, ends.end
            if not ends.symmetric:
                return [(b.oid, False), (a.oid, True)]
            bases = ancestry.merge_bases(self.odb, txn, a.place, b.place)
            names = [self.odb.states.state(txn, place)[0] for place in bases]
            return [(a.oid, False), (b.oid, False), *((oid, True) for oid in names)]

    def _selection(
        self, txn: ReadTxn, revisions: Sequence[str | Oid], every: bool
    ) -> logs.LogSelection:
        from simgit.history import log as logs

        tips, exclude = [], []
        for revision in revisions or (() if every else (HEAD,)):
            text = revision if isinstance(revision, str) else ""
            if text.startswith("^"):
                exclude.append(self._resolve(txn, text[1:]).place)
            elif (ends := self.revisions.resolve_range(txn, text)) is None:
                tips.append(self._resolve(txn, revision).place)
            elif ends.symmetric:
                tips += [ends.start.place, ends.end.place]
                exclude += ancestry.merge_bases(self.odb, txn, ends.start.place, ends.end.place)
            else:
                tips.append(ends.end.place)
                exclude.append(ends.start.place)
        tips += self._tips(txn) if every else []
        return logs.LogSelection(tuple(dict.fromkeys(tips)), tuple(exclude))

    def decorations(self) -> dict[Oid, list[str]]:
        """Return which refs point at which states: ``HEAD``, full names of runs and tags.

        The run that HEAD points at comes first, as ``HEAD -> runs/main``.
        """
        with self._read() as txn:
            head = self.refs.head(txn)
            found: dict[Oid, list[str]] = {head: [HEAD]} if isinstance(head, Oid) else {}
            for name, ref in self.refs.runs(txn):
                if ref.oid is not None and name == head:
                    found.setdefault(ref.oid, []).insert(0, f"{HEAD} -> {RUNS}{name}")
                elif ref.oid is not None:
                    found.setdefault(ref.oid, []).append(RUNS + name)
            for name, tag in self.refs.tags(txn):
                found.setdefault(tag.oid, []).append(TAGS + name)
            return found
