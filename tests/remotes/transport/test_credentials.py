"""Where the credentials and the settings of S3 come from, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simgit.errors import InvalidInput, NotFound, TransportError
from simgit.remotes.transport import open_transport
from simgit.remotes.transport.profiles import Profile, read_profile
from tests.remotes.transport import replies
from tests.remotes.transport.replies import Server, found


@pytest.fixture
def server() -> Iterator[Server]:
    with replies.replying() as server:
        server.replies = [found(b"1")]
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = DEFAULT\naws_secret_access_key = ds%(x)\n"
        "[work]\naws_access_key_id = WORK\naws_secret_access_key = ws\naws_session_token = wt\n"
        "[half]\naws_access_key_id = HALF\n"
    )
    (tmp_path / "config").write_text(
        "[default]\nregion = eu-default-1\n"
        "[profile work]\nregion = eu-work-1\nendpoint_url = http://127.0.0.1:1\n"
        "[profile sso]\nsso_session = corp\nregion = x\n"
        "[profile role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = work\n"
        "[profile services]\nservices = mine\n"
        "[profile empty]\nregion = x\n"
    )
    return tmp_path


def signer(server: Server) -> tuple[str, str, str | None]:
    """Return the key, the region and the token that the last request was signed with."""
    _, _, headers = server.asked[-1]
    scope = headers["authorization"].partition("Credential=")[2].split("/")
    return scope[0], scope[2], headers.get("x-amz-security-token")


def test_the_environment_comes_before_the_files(
    server: Server, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "es")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "et")
    open_transport("s3://bucket", endpoint=server.address).get("a")
    assert signer(server) == ("ENV", "us-east-1", "et")
    open_transport("s3://bucket", endpoint=server.address, region="mars-1").get("a")
    assert signer(server) == ("ENV", "mars-1", "et")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "moon-1")
    open_transport("s3://bucket", endpoint=server.address).get("a")
    assert signer(server) == ("ENV", "moon-1", "et")


def test_a_profile_that_is_named_comes_before_the_environment(
    server: Server, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "es")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "et")
    open_transport("s3://bucket", endpoint=server.address, profile="work").get("a")
    assert signer(server) == ("WORK", "eu-work-1", "wt")
    open_transport("s3://bucket", endpoint=server.address, profile="default").get("a")
    assert signer(server) == ("DEFAULT", "eu-default-1", None)


def test_the_files_are_read_where_the_environment_has_no_keys(
    server: Server, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_transport("s3://bucket", endpoint=server.address).get("a")
    assert signer(server) == ("DEFAULT", "eu-default-1", None)
    monkeypatch.setenv("AWS_PROFILE", "work")
    open_transport("s3://bucket", endpoint=server.address).get("a")
    assert signer(server) == ("WORK", "eu-work-1", "wt")


def test_the_endpoint_may_come_from_the_environment_or_the_profile(
    server: Server, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = open_transport("s3://bucket", profile="work")
    assert transport.url == "s3://bucket"
    config = files / "config"
    config.write_text(config.read_text().replace("http://127.0.0.1:1", server.address))
    open_transport("s3://bucket", profile="work").get("a")
    config.write_text(config.read_text().replace(server.address, "http://me:secret@host"))
    with pytest.raises(InvalidInput, match="must not have a user's name or password"):
        open_transport("s3://bucket", profile="work")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
    open_transport("s3://bucket").get("a")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    open_transport("s3://bucket", endpoint=server.address).get("a")
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sso", "profile 'sso' of ~/.aws gets its keys by 'sso_session', which simgit does not read: "
                'run eval "$(aws configure export-credentials --profile sso --format env)" and give '
                "no profile"),
        ("role", "profile 'role' of ~/.aws gets its keys by 'role_arn', which simgit does not read"),
        ("services", "profile 'services' of ~/.aws names its services elsewhere"),
        ("half", "profile 'half' of ~/.aws has one key without the other"),
        ("empty", "profile 'empty' of ~/.aws has no keys"),
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_is_refused(files: Path, name: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_transport("s3://bucket", profile=name)
    assert str(caught.value).startswith(said)


def test_a_profile_that_is_not_there_is_not_found(files: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"~/\.aws has no profile 'other'"):
        open_transport("s3://bucket", profile="other")


@pytest.mark.parametrize("text", ["aws_secret_access_key = hidden", "[a]\nhidden", "[a]\nx=\xff"])
def test_a_file_that_is_none_of_profiles_is_not_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "credentials").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match="is not as a file of profiles has to be") as caught:
        read_profile(None)
    assert "hidden" not in str(caught.value)


def test_no_secret_is_shown() -> None:
    shown = repr(Profile("KEY", "hidden", "hidden", "eu-1", None))
    assert "hidden" not in shown and "KEY" not in shown


def test_without_credentials_one_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    with replies.replying() as nobody:  # what a machine that is none of AWS has in the place of it
        nobody.replies = [replies.Reply(403)]
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", nobody.address)
        transport = open_transport("s3://bucket")
        with pytest.raises(TransportError) as caught:
            transport.get("a")
    assert str(caught.value) == (
        "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name "
        "a profile of ~/.aws"
    )
    assert (caught.value.kind, caught.value.retryable) == ("denied", False)


def test_a_file_of_certificates_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file")
    with pytest.raises(
        InvalidInput, match="cannot read AWS_CA_BUNDLE '/no/such/file': no such file"
    ):
        open_transport("s3://bucket")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to sign a certificate")
def test_a_certificate_of_ones_own_is_trusted_where_it_is_named(
    keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signed(name: str, subject: str) -> tuple[Path, Path]:
        made = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-days", "2", "-subj", "/CN=tests", "-addext", f"subjectAltName={subject}",
             "-addext", "basicConstraints=critical,CA:FALSE", "-out", made[0], "-keyout", made[1]],
            check=True, capture_output=True,
        )  # fmt: skip
        return made

    with replies.replying(good := signed("good", "IP:127.0.0.1")) as server:
        server.replies = [found(b"1")]
        with pytest.raises(TransportError) as caught:
            open_transport("s3://bucket", endpoint=server.address).get("a")
        assert str(caught.value) == (
            f"cannot reach bucket 'bucket' at {server.address}: its certificate is refused "
            "(UnknownIssuer); name the file of the authority that signed it in AWS_CA_BUNDLE"
        )
        assert (caught.value.kind, caught.value.retryable) == ("unreachable", False)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(good[0]))
        got = open_transport("s3://bucket", endpoint=server.address).get("a")
        assert got is not None and got.data == b"1"
    with replies.replying(other := signed("other", "IP:127.0.0.2")) as server:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(other[0]))
        with pytest.raises(TransportError, match="its certificate is refused") as caught:
            open_transport("s3://bucket", endpoint=server.address).get("a")
        assert "AWS_CA_BUNDLE" not in str(caught.value)


def test_obstore_is_imported_for_s3_only_and_asked_for_where_it_is_missing() -> None:
    code = """
import sys
import simgit
from simgit.remotes.transport import open_transport
open_transport("memory://x").put("a", b"1")
open_transport("/tmp/x")
assert "obstore" not in sys.modules
sys.modules["obstore"] = None
try:
    open_transport("s3://bucket")
except simgit.NotFound as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "remotes s3:// need obstore: pip install 'simgit[s3]'\n"
