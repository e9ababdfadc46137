"""Make the notebooks of the first pages from the pages themselves, and run them: `python docs/make_notebooks.py`.

Text becomes text, every block of Python a cell. A block that is an excerpt of a file (`# from FILE`) stays text.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode, v4

DOCS = Path(__file__).parent
FOLDER = DOCS / "notebooks"
PAGES = ("index", "which_controller", "steer", "train")
BLOCK = re.compile(r"^```python\n(?!# from )(.*?)^```\n", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)]+)\)")


def make_notebook(name: str) -> NotebookNode:
    """Return the notebook of a page, not yet run; equal pages make equal notebooks."""
    head = f"*Made from `docs/{name}.md` by `docs/make_notebooks.py`.*\n\n"
    parts = BLOCK.split(head + LINK.sub(r"](../\1)", (DOCS / f"{name}.md").read_text()))
    cells = []
    for i, part in enumerate(parts):  # text and code by turns
        if part.strip():
            new_cell = v4.new_code_cell if i % 2 else v4.new_markdown_cell
            cells.append(new_cell(part.strip(), id=f"{name}-{i}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def run(notebook: NotebookNode) -> None:
    """Run a notebook in a folder that is then thrown away; what it prints stays in it, when it ran does not."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = NotebookNode()


def without_outputs(notebook: NotebookNode) -> dict[str, Any]:
    """Return a notebook as it was before it was run."""
    cells = [dict(cell) for cell in notebook.cells]
    for cell in cells:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return {**notebook, "cells": cells}


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name in PAGES:
        notebook = make_notebook(name)
        run(notebook)
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
