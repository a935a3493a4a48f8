"""A remote that an earlier version wrote is read by this one, and says the same in the same bytes."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from blake3 import blake3

from simgit import Repository
from simgit.remotes import layout
from simgit.remotes.bundle import verify
from simgit.remotes.connection import Connection
from simgit.remotes.layout import PackEntry, RemoteInfo, RemoteRef, ShardName
from simgit.remotes.transport import open_transport

KEPT = Path(__file__).parent / "remote-1"
MAIN = "1f3caecc950606d83cf6e7f46b85d19b643a7653d909786940e857c133d4cb62"
TRY = "09619c3b033eee46d8dbc8a3db2429b650729ffe4a006d02b19cfde1465bab13"


def test_everything_is_fetched(tmp_path: Path) -> None:
    shutil.copytree(KEPT, tmp_path / "remote")
    with Repository.clone(tmp_path / "remote", tmp_path / "clone") as repo:
        assert {name: str(info.oid) for name, info in repo.runs.items()} == {
            "main": MAIN,
            "näher/try-1": TRY,
        }
        assert repo.tags()["v1"][0] == repo.state("main@5").oid
        assert repo.runs["näher/try-1"].config == {"lr": 1}
        assert [repo.attachment(f"main@{step}", "agent")["w"][0] for step in (5, 11, 17, 23)] == [
            0.0, 1.0, 2.0, 3.0,
        ]  # fmt: skip
        assert not repo.fsck().problems
        with repo.remote() as remote:
            assert remote.fsck().is_clean
            assert "runs/empty" not in remote.refs()


def _made(entries: list[PackEntry]) -> tuple[bytes, ShardName]:
    data = layout.encode_shard(entries)
    return data, ShardName(0, blake3(data).digest())


def test_its_objects_are_encoded_as_they_are() -> None:
    with open_transport(str(KEPT)) as transport:
        connection = Connection.open(transport)
        objects = {each.key: each for each in transport.list("")}
        for key in objects:
            got = transport.get(key)
            assert got is not None
            if key == layout.REMOTE:
                assert RemoteInfo.decode(got.data).encode() == got.data
            elif key.startswith(layout.REFS):
                name = layout.ref_of_key(key)
                assert layout.key_of_ref(name) == key
                ref = RemoteRef.decode(got.data, name, connection.info.id)
                assert ref.encode() == got.data
            elif key.startswith(layout.INDEX):
                level, digits = key.split("/")[1:]
                shard = ShardName(int(level), bytes.fromhex(digits))
                entries = layout.decode_shard(got.data, shard)
                assert len(entries) == 4 and layout.key_of_shard(*shard) == key
                assert layout.decode_shard(*_made(entries)) == entries
            elif key.startswith(layout.PACKS):
                assert layout.key_of_pack(bytes.fromhex(key.rpartition("/")[2])) == key
                assert verify(io.BytesIO(got.data).read).bytes == len(got.data)
        main = connection.read_ref("runs/main")
        assert main is not None and str(main.ref.oid) == MAIN and main.ref.seq == 4
