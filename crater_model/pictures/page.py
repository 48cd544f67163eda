"""Pieces of a page of HTML that needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

_STYLE = """body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { text-align: left; padding: .2em 1em .2em 0 }
td { font-variant-numeric: tabular-nums } .bad { color: #a00 } img { max-width: 100% }"""
_MOST_LINES = 200


def page(title: str, parts: Iterable[str]) -> bytes:
    """The file; `parts` are HTML, `title` is text."""
    name = html.escape(title)
    head = (f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{name}</title>\n"
            f"<style>{_STYLE}</style><h1>{name}</h1>")
    return ("\n".join([head, *filter(None, parts)]) + "</html>\n").encode()


def lines(title: str, texts: list[str]) -> str:
    """A list under a heading; nothing where there is no text."""
    if not texts:
        return ""
    shown = [f"<li>{html.escape(line)}</li>" for line in texts[:_MOST_LINES]]
    if len(texts) > _MOST_LINES:
        shown.append(f"<li>and {len(texts) - _MOST_LINES} more</li>")
    return f"<h2>{html.escape(title)}</h2><ul>{''.join(shown)}</ul>"


def numbers(title: str, values: dict[str, Any]) -> str:
    """Names and values under a heading; nothing where there are none."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {number}" for name, number in value.items())
        if value in (None, ""):
            value = "-"
        rows.append(f"<tr><th>{html.escape(key.replace('_', ' '))}</th>"
                    f"<td>{html.escape(str(value))}</td></tr>")
    return f"<h2>{html.escape(title)}</h2><table>{''.join(rows)}</table>" if rows else ""


def grid(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table with a line of names."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = ("<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in row) + "</tr>"
            for row in rows)
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def text(words: str) -> str:
    """A paragraph."""
    return f"<p>{html.escape(words)}</p>"


def picture(title: str, png: bytes) -> str:
    """A PNG under a heading."""
    return f"<h2>{html.escape(title)}</h2>" + image(title, png)


def image(words: str, png: bytes) -> str:
    """A PNG, and what it is called."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return f"<img alt='{html.escape(words)}' src='{source}'>"
