"""The notebooks are the pages, run without an error, and small."""

import runpy
from pathlib import Path

import nbformat
import pytest

DOCS = Path(__file__).parents[1] / "docs"
MAKE = runpy.run_path(str(DOCS / "make_notebooks.py"))
MOST_BYTES = 50_000


@pytest.mark.parametrize("name", MAKE["PAGES"])
def test_a_notebook_is_its_page_apart_from_outputs(name):
    notebook = nbformat.read(DOCS / "notebooks" / f"{name}.ipynb", as_version=4)
    assert MAKE["without_outputs"](notebook) == MAKE["make_notebook"](name), "run python docs/make_notebooks.py"


@pytest.mark.parametrize("name", MAKE["PAGES"])
def test_a_notebook_was_run_whole_and_is_small(name):
    notebook = nbformat.read(DOCS / "notebooks" / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert outputs and {output.output_type for output in outputs} <= {"stream", "execute_result"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    assert len(repr(outputs)) < MOST_BYTES


def test_every_notebook_has_a_page():
    assert sorted(file.stem for file in DOCS.glob("notebooks/*")) == sorted(MAKE["PAGES"])
