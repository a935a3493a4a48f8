"""The check of a store: recompute every hash, follow every link.

A problem names the damage and its cost: the runs whose history contains it, and which steps.
"""

from __future__ import annotations

from simgit.errors import SimgitError
from simgit.maintenance.fsck.findings import ALL, Progress, TimeOverError
from simgit.maintenance.fsck.report import OBJECT, FsckReport
from simgit.maintenance.fsck.states import StateChecks
from simgit.maintenance.fsck.tables import TableChecks
from simgit.objects.kinds import KIND_CODES, decode_object
from simgit.odb import trees
from simgit.odb.loose import HEAD
from simgit.storage.base import ReadTxn

__all__ = ["ALL", "Fsck", "Progress"]


class Fsck(StateChecks, TableChecks):
    """One check of a store, in one consistent snapshot."""

    def run(self) -> FsckReport:
        """Check everything; return the report.

        The file's structure comes first: if that is damaged, nothing is read through it.
        """
        self.odb.states.forget()  # what was read before says nothing of the bytes
        self._check_pages()
        if not self.report.is_clean:
            self.report.is_complete = False
            return self.report
        with self.odb.read() as txn:
            try:  # the quick checks come first
                self._check_tables(txn)
                self._check_objects(txn)
                for key, _ in txn.scan("lines"):
                    self._check_line(txn, int.from_bytes(key, "big"))
            except TimeOverError:
                self.report.is_complete = False
            self._check_claims(txn)
        return self.report

    def _check_pages(self) -> None:
        storage = self.odb.storage
        if self._sample.parts == 1 and not storage.read_only:  # else a writer may be active
            for what in storage.audit():
                self._problem(
                    f"the file of the store is damaged: {what}; 'simgit clone' saves the rest"
                )

    def _check_objects(self, txn: ReadTxn) -> None:
        for oid, value in txn.scan("objects"):
            if not self._sample.has(oid[0]):
                continue
            self._check_time()
            self.report.objects += 1
            try:
                if len(value) >= HEAD.size and value[0] == KIND_CODES["blob"]:
                    self.odb.check_blob(txn, oid)  # it may be larger than the memory
                    continue
                kind, payload = self.odb.get(txn, oid)
                for link in trees.links(self.odb, txn, decode_object(kind, payload)):
                    if not self.odb.exists(txn, link):
                        self._problem(
                            f"{kind} {oid.hex()} refers to {link.hex()}, which is missing",
                            kind=OBJECT, where=bytes(link),
                        )  # fmt: skip
            except SimgitError as error:
                self._problem(str(error), kind=OBJECT, where=oid)
