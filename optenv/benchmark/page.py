"""One self-contained HTML page: tables, and pictures inlined; it loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin-bottom: .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #444; } tbody tr:nth-child(even) { background: #f5f5f5; }
tr.controller td:first-child { color: #b04a00; font-weight: 600; } tr.reference td:first-child { font-weight: 600; }
.pictures { display: flex; margin-top: 1.2rem; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
figure { margin: 0; max-width: 40rem; } img { max-width: 100%; height: auto; }
figcaption { font-weight: 600; font-size: .9rem; }
pre, dl { font-size: .82rem; color: #444; } pre { white-space: pre-wrap; font-family: inherit; }
dt { font-weight: 600; float: left; clear: left; min-width: 9rem; } dd { margin-left: 9.5rem; }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """Return a whole page of the given parts of HTML."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    head = f'<html lang="en"><head>{head}<style>\n{_STYLE}</style></head>'
    return "\n".join(["<!DOCTYPE html>", head, "<body>", *parts, "</body></html>", ""])


def heading(text: str, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def notes(text: str) -> str:
    """Return lines of text as they are."""
    return f"<pre>{escape(text)}</pre>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], classes: Mapping[str, str] | None = None) -> str:
    """Return a table; `classes` by the first cell of a row."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = []
    for row in rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        lines.append(f'<tr class="{(classes or {}).get(row[0], "")}">{cells}</tr>')
    body = "\n".join(lines)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def definitions(entries: Mapping[str, str]) -> str:
    """Return a list of terms and what they mean."""
    lines = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in entries.items())
    return f"<dl>{lines}</dl>"


def pictures(images: Mapping[str, bytes]) -> str:
    """Return pictures, PNG by caption, inlined."""
    figures = []
    for caption, png in images.items():
        data = base64.b64encode(png).decode()
        figures.append(
            f"<figure><figcaption>{escape(caption)}</figcaption>"
            f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}"></figure>'
        )
    return f'<div class="pictures">{"".join(figures)}</div>'
