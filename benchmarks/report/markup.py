"""Headings and tables of the page."""

from __future__ import annotations

from collections.abc import Sequence


def section(title: str, *parts: str) -> str:
    """A heading with what stands under it; nothing where nothing does."""
    body = "".join(parts)
    return f"<h2>{title}</h2>{body}" if body else ""


def note(text: str) -> str:
    """How to read what follows."""
    return f"<p class='note'>{text}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A table; all but its first `text_columns` columns are numbers. Nothing where there are no rows."""
    if not rows:
        return ""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i >= text_columns else ''}>{text}</{tag}>" for i, text in enumerate(texts))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head)}</tr>{body}</table>"
