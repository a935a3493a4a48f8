"""The forms in which secrets are written, and what looks like one and is none."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

import pytest

from simgit.gym.spec.masking import MASK, is_secret, mask_arguments, mask_text, mask_values

S = "hunter2secretX9"
"""The secret in each form."""
KEY = "Zk9fT3pQx7Lw2VbN8sRdYc4H"
SECONDS = 60
"""Hundreds of times what the longest takes; before, a line of 40 KB took longer."""

COMMANDS: list[list[str]] = [
    ["--key", S], ["--key=" + S], ["--pwd", S], ["--pass", S], ["--pass=" + S], ["--password", S],
    ["--password=12345678"], ["-u", f"ada:{S}"], ["--user", f"ada:{S}"], [f"--user=ada:{S}"],
    ["-H", f"Authorization: token {S}"], ["-H", f"Authorization: Bearer {S}"],
    ["-H", f"Authorization: Basic {KEY}="], ["-H", f"Authorization: {S}"],
    ["--header", f"X-Api-Key: {S}"], ["--header", f"PRIVATE-TOKEN: {S}"],
    [f"https://{KEY}@github.com/a/b"], [f"https://ada:{S}@github.com/a/b"],
    [f"https://{KEY}:x-oauth-basic@github.com/a/b"], [f"https://x-access-token:{S}@github.com/a"],
    [f"postgres://ada:{S}@db:5432/x"], [f"redis://:{S}@cache:6379/0"],
    [f"postgres://ada:pa/ss@{S}@db/x"], [f"npm_{KEY}"], [f"sk_live_{KEY}"], [f"rk_test_{KEY}"],
    [f"Server=tcp:db;Uid=ada;Pwd={S};"], [f"DefaultEndpointsProtocol=https;AccountKey={KEY}==;"],
    [f"Endpoint=sb://x/;SharedAccessKey={KEY}="], [f"https://x.blob.net/c?sv=2020&sig={KEY}%3D&se=1"],
    [f"https://maps.example.org/api?key={S}"], [f"https://f.example.net/api?code={S}"],
    ["--config", f'{{"api_key": "{S}"}}'], ["--config", f'{{\\"api_key\\": \\"{S}\\"}}'],
    ["--json", f'{{"password": "a\\"{S}"}}'], [f"DB_PASS={S}"], [f"PGPASSWORD={S}"],
    [f"MYSQL_PWD={S}"], [f"AWS_SECRET_ACCESS_KEY={KEY}"], [f"AWS_ACCESS_KEY_ID={S}"],
    [f"wandb.api_key={S}"], [f"+auth.token={S}"], ["--wandb-key", S], ["--hf-token", f"hf_{KEY}"],
    ["--api_key", S], ["--apikey", S], ["--access-token", S], ["--client-secret", S],
    ["--auth", f"ada:{S}"], ["--ssh-passphrase", S], ["--cred", S], ["--jwt", S],
    [f"glpat-{KEY}"], [f"xoxb-1234567890-{KEY}"], [f"sk-proj-{KEY}{KEY}"], [f"SG.{KEY}.{KEY}"],
    [f"ghp_{KEY}{KEY}"], [f"github_pat_{KEY}_{KEY}"], [f"ya29.{KEY}"], [f"hvs.{KEY}"],
    [f"12345678:AA{KEY}abcdefghi"], [f"https://hooks.slack.com/services/T0/B0/{KEY}"],
    [f"pypi-AgEIcHlwaS5vcmc{KEY}"], [f"//registry.npmjs.org/:_authToken={S}"],
    ["git", "clone", f"https://oauth2:{S}@gitlab.com/a/b.git"], ["--token", f"'{S}'"],
    [f"--env=API_TOKEN={S}"], ["-e", f"API_TOKEN={S}"], [f"WANDB_API_KEY={'0123456789abcdef' * 2}"],
]  # fmt: skip
DIFFS: list[str] = [
    f"+password = '{S}'", f'+    config["password"] = "{S}"', f"+os.environ['TOKEN'] = '{S}'",
    f'+password: str = "{S}"', f'+    api_key: Optional[str] = "{S}"',
    f'+secret = """{S}"""', f"+secret = '''\n+{S}\n+'''", f'+PASSWORD = (\n+    "{S}"\n+)',
    f"+password:\n+  {S}", f"+  token: >-\n+    {S}", f"+  token: |\n+    {S}", f'+"token":\n+    "{S}"',
    f"+DB_PASS={S}", f"+export DB_PASS='{S}'", f"+ENV API_KEY={S}", f"+ENV API_KEY {S}",
    f"+  password: {S}", f"+  - name: PGPASSWORD\n+    password: {S}",
    f"+machine api.wandb.ai login user password {S}", f"+machine a\n+  login b\n+  password {S}",
    f"+//registry.npmjs.org/:_authToken={S}", f"+client = Client(api_key='{S}')",
    f"+client = Client('u', password=\"{S}\")", f'+headers = {{"Authorization": "token {S}"}}',
    f'+headers = {{"Authorization": f"Bearer {S}"}}', f"+setenv('API_TOKEN', '{S}')",
    f'+os.environ.setdefault("API_TOKEN", "{S}")', f"+url = 'https://ada:{S}@example.org'",
    f'+text = "{{\\"password\\": \\"{S}\\"}}"', f"+password = r'{S}'", f"+password = b'{S}'",
    f'+if password == "{S}":', f"+aws_secret_access_key = {KEY}", f"+[default]\n+secret_key={S}",
    f"+-----BEGIN PGP PRIVATE KEY BLOCK-----\n+\n+{S}\n+=abcd\n+-----END PGP PRIVATE KEY BLOCK-----",
    f"+-----BEGIN OPENSSH PRIVATE KEY-----\n+{S}\n", f"+-----BEGIN EC PRIVATE KEY-----\n+{S}\n+x",
    f"+AccountKey={KEY}==", f"+<add key='x' connectionString='Server=a;Pwd={S}'/>",
    f"+password => '{S}',", f"+PASSWORD := {S}", f"+password ?= {S}", f"-old_password = '{S}'",
    f"+conn = 'postgresql://ada:{S}@localhost/db'", f"+token = `{S}`", f"+AuthToken: {S}",
    f"+password = 'it\\'s {S}'", f"+x = {{'a': 1, 'secret': '{S}'}}", f"+kaggle = {{\"key\": 1, \"api_key\": \"{S}\"}}",
    f"+password='{S}",
]  # fmt: skip
HARMLESS: list[list[str]] = [
    ["python", "train.py"], ["python", "-u", "train.py"], ["--token-limit", "5"], ["--key-frames", "3"],
    ["--lr", "1e-3"], ["--lr=0.0003"], ["keyboard=us"], ["--keyboard", "us"], ["--seed", "123456789"],
    ["--max-tokens", "512"], ["--max_new_tokens=512"], ["--pad-token", "[PAD]"], ["--eos_token=</s>"],
    ["--tokenizer", "gpt2"], ["--n-keys", "4"], ["--author", "ada"], ["--authority=x"],
    ["--commit", "4d1e2459b4b1c4f7c0ad7a1e9e1a2c5b6d7e8f90"], ["--sha256", "ab" * 32],
    ["/home/ada/projects/reinforcement_learning/experiments/cartpole.py"],
    ["--run-name", "ppo_CartPole-v1__2024-05-01_12-30-00"], ["--monkey", "1"], ["--passes", "3"],
    ["--bypass", "x"], ["--compass=n"], ["--secretary", "ada"], ["--env", "CartPole-v1"],
    ["--user", "ada"], ["-u", "1000:1000"], ["--save-path=/data/checkpoints/run-3/model.zip"],
    ["https://github.com/ada/project.git"], ["git@github.com:ada/project.git"],
    ["ssh://git@github.com/ada/project"], ["https://unpkg.com/react@18.2.0/index.js"],
    ["http://localhost:8080/a@b"], ["--hidden", "64,64"], ["--net-arch", "[256, 256]"],
    ["--policy", "MlpPolicy"], ["--tokens-per-second", "3.5"], ["--key-file", "/etc/ssl/a.pem"],
    ["--trace", "cpu-slight"], ["agent.lr=0.1"], ["optimizer=adam", "batch_size=64"], ["-5"],
    ["--device", "cuda:0"], ["--host", "localhost:8000"], ["--wandb-project", "my-project"],
    ["--total-timesteps", "1_000_000"], ["Basic understanding of things"], ["--kl-coef=-0.5"],
]  # fmt: skip
CODE: list[str] = [
    "lr = 0.001", "for key, value in items.items():", "x = sorted(y, key=len)", "max_tokens = 512",
    'token = os.environ["TOKEN"]', "secret = get_secret()", "password = None", "token: str",
    "def login(user: str, password: str) -> None:", "def f(password):\n    pass", "if token:\n    return",
    "class Token:\n    pass", "self.token = token_of(x)", "tokens = text.split()", "api_key=args.api_key",
    "password = getpass.getpass()", 'tokenizer.pad_token = "[PAD]"', "auth:\n  enabled: true",
    "fields = ['token', 'logits']", 'parser.add_argument("--token", help="the token")',
    "signature = inspect.signature(f)", "import secrets", "token = f'{token}'", "password: ${PASSWORD}",
    "api_key: $API_KEY", "token = '<your token>'", "key = jax.random.PRNGKey(0)", "keys = dict.keys()",
    "index 3f9a2c41..7f0e11d2 100644", "@@ -1,3 +1,4 @@ def token(x):", "d='M10 10 L 20 20 C 30 30'",
    "--- a/simgit/gym/recorder.py", "return observation, reward, terminated, truncated, info",
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:40])
def test_a_secret_on_a_command_line_is_masked(words: list[str]) -> None:
    masked = mask_arguments(["train.py", "--steps", "5", *words, "--lr", "0.1"])
    text = " ".join(masked)
    assert MASK in text
    assert S not in text and KEY not in text and "0123456789abcdef" not in text
    assert masked[:3] == ["train.py", "--steps", "5"] and masked[-2:] == ["--lr", "0.1"]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:40])
def test_a_secret_among_other_facts_is_masked(words: list[str]) -> None:
    *_, value = words
    masked = mask_values({"remotes": {"origin": value}, "token": S, "deep": [{"api_key": KEY}]})
    if len(words) == 1:
        assert S not in str(masked) and KEY not in str(masked)
    assert masked["token"] == MASK and masked["deep"] == [{"api_key": MASK}]


@pytest.mark.parametrize("text", DIFFS, ids=lambda text: text[:40])
def test_a_secret_in_a_diff_is_masked(text: str) -> None:
    before, after = "@@ -1,2 +1,3 @@\n import os\n", "\n+lr = 0.1\n"
    masked = mask_text(before + text + after)
    assert MASK in masked
    assert S not in masked and KEY not in masked
    assert masked.startswith(before)
    if "BEGIN" not in text:
        assert masked.endswith(after)


@pytest.mark.parametrize("words", HARMLESS, ids=lambda words: " ".join(words)[:40])
def test_what_is_no_secret_stays_on_the_command_line(words: list[str]) -> None:
    assert mask_arguments(words) == words


@pytest.mark.parametrize(
    "text", [*CODE, *(" ".join(words) for words in HARMLESS)], ids=lambda t: t[:40]
)
def test_what_is_no_secret_stays_in_a_diff(text: str) -> None:
    masked = mask_text(f"+x = 1\n+{text}\n+y = 2\n")
    assert masked == f"+x = 1\n+{text}\n+y = 2\n"


def test_what_is_masked_stays_masked() -> None:
    for text in DIFFS:
        assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.parametrize(
    "name", ["--key-frames", "keyboard", "max_tokens", "tokenizer", "author", "x"]
)
def test_names_that_are_not_those_of_secrets(name: str) -> None:
    assert not is_secret(name)


# --- linear time ----------------------------------------------------------------------------------


def attacks() -> Iterator[tuple[str, str]]:
    size = 1 << 16
    pieces = [
        "a", ".", "-", "_", "a.", "a-", "token", "token.", "token-", "token=", "token='", 'token="""',
        "token=f(", "token:", "token: a", "token:\n", "token=\n+", "'token',", "('token','", "\\", '\\"',
        "token=\\\"", "://", "://a:", "://a@", "https://a:b", "eyJaaaaaaaaa-", "eyJaaaaaaaa.", "sk-", "sk-a",
        "ghp_", "Bearer ", "Bearer a", "login ", "login password ", "machine a password ", "=", "+/", "A=",
        "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END ", "M10.5 20.25 L", "key-", "12345678:AA",
        "[password", "password]", "token=[", "a=b&", "?sig=", "\n", " ", "token = (\n", "é", "token=$",
        "token='a\\'", "password password", "x_token=token_", "token=token.", "token==",
    ]  # fmt: skip
    for piece in pieces:
        yield repr(piece), piece * (size // len(piece))
    rng = random.Random(1)
    for _ in range(20):
        some = rng.sample(pieces, 4)
        yield repr(some), "".join(rng.choice(some) for _ in range(size // 8))


@pytest.mark.slow
@pytest.mark.parametrize(("what", "text"), list(attacks()), ids=lambda value: value[:30])
def test_a_long_text_takes_linear_time(what: str, text: str) -> None:
    def late(*_: object) -> None:
        raise AssertionError(f"masking {what} does not end")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        mask_text(text)
        mask_arguments([text, "--token", text])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("path", [
    "/tmp/pytest-of-root/pytest-74/popen-gw1/test_all_of_the_provenance_is_0/train.py",
    "/home/me/Projects/rl-experiments-2024/AntV5_sac_run3/Train2.py",
    "/data/user01/checkpoints/run_2024_11_28/model0001.pt", "runs/HalfCheetah-v5/seed7_2024-11-28T10/x",
    "~/work/RL2/CleanRL/ppo_continuous_action_v2/lr3e-4", "s3://bucket/Runs/Exp17/Model0042/step00100000",
])  # fmt: skip
def test_a_path_is_no_secret(path: str) -> None:
    assert mask_arguments(["python", path]) == ["python", path]
    assert mask_arguments([f"--out={path}"]) == [f"--out={path}"]


def test_what_is_random_in_a_path_is_masked() -> None:
    token = "wJalrXUtnFEMIqK7MDENGzbPxRfiCYEXAMPLEKEY9"
    assert token not in str(mask_arguments([f"/home/me/{token}/train.py"]))
    assert "K7MDENG" not in str(mask_arguments(["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"]))
