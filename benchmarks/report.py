"""RESULTS.md: a preface, and a section for each benchmark, which a run of that benchmark replaces.

A section stands between two comments that name its benchmark. What lies outside of any, people keep by hand.
"""

import re
from collections.abc import Mapping
from pathlib import Path

BEGIN, END = "<!-- begin {} -->", "<!-- end {} -->"


def replace_sections(path: Path, sections: Mapping[str, str], order: list[str]) -> None:
    """Writes these sections into the file, each in its own's place; a new one goes after those before it in `order`."""
    text = path.read_text() if path.exists() else ""
    for name, section in sections.items():
        text = with_section(text, name, section, order)
    path.write_text(text)


def with_section(text: str, name: str, section: str, order: list[str]) -> str:
    whole = f"{BEGIN.format(name)}\n{section.strip()}\n{END.format(name)}"
    found = re.search(re.escape(BEGIN.format(name)) + r".*?" + re.escape(END.format(name)), text, re.DOTALL)
    if found:
        return text[: found.start()] + whole + text[found.end() :]
    at = place(text, name, order)
    return f"{text[:at].rstrip()}\n\n{whole}\n\n{text[at:].lstrip()}".rstrip() + "\n"


def place(text: str, name: str, order: list[str]) -> int:
    """After the last of those that come before it; where there are none, before all others, or at the end."""
    for other in reversed(order[: order.index(name)]):
        if (at := text.find(END.format(other))) >= 0:
            return at + len(END.format(other))
    first = re.search(r"^<!-- begin ", text, re.MULTILINE)
    return first.start() if first else len(text)
