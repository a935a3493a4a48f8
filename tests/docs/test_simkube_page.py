"""The example in the documentation runs and prints what it says."""

import contextlib
import io
import re

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "simkube.md"


def test_the_example_prints_what_its_comments_say() -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    said = re.findall(r"^print.*?# (.*)$", code, re.MULTILINE)
    assert printed.getvalue().splitlines() == said
