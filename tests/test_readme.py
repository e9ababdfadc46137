"""The README's Python runs as written."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", SNIPPETS, ids=[code.splitlines()[0] for code in SNIPPETS])
def test_snippet_runs(code):
    exec(compile(code, "README.md", "exec"), {})


def test_there_are_snippets():
    assert len(SNIPPETS) >= 2
