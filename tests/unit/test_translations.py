"""The pages in Chinese say what the English ones say: the same sections, blocks, code and links in each."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/operations.md"]
HAN = re.compile(r"[\u4e00-\u9fff]")
HEADING = re.compile(r"(#+) (.*)")
CODE = re.compile(r"`([^`]+)`")
TITLE = re.compile(r"\*([A-Z][^*]*)\*")
LINK = re.compile(r"\]\(([^)]+)\)")
ITEM = re.compile(r"(\*|\d+\.) ")
COMMENT = re.compile(r"(^|\s+)# .*")
LABEL = re.compile(r"\|[^|]*\||\(\[[^]]*\]\)")
OTHER_LANGUAGE = re.compile(r"\[(English|简体中文)\]\(([^)]+)\)\n")


class Section(NamedTuple):
    """What of a section is the same in every language."""

    level: int
    heading: str
    """Of an alert or the page's name; others are translated."""
    blocks: tuple[str, ...]
    """Paragraphs, list items, table rows, and code as it is, comments and labels left out."""
    code: Counter[str]
    titles: Counter[str]
    """Of the dashboard's panels."""
    links: Counter[str]


def chinese_of(page: str) -> Path:
    path = ROOT / page
    return path.with_name(f"{path.stem}.zh-CN.md")


def read(path: Path) -> str:
    """A page without the link to its translation."""
    return OTHER_LANGUAGE.sub("", path.read_text(), count=1)


def sections(text: str) -> Iterator[Section]:
    for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
        if found := HEADING.match(part):
            marks, heading = found.groups()
            prose = "\n".join(line for line in part.splitlines() if not line.startswith("    "))
            yield Section(
                level=len(marks),
                heading=heading if heading.casefold().startswith("vectord") else "",
                blocks=tuple(blocks(part[found.end() :])),
                code=Counter(" ".join(code.split()) for code in CODE.findall(prose)),
                titles=Counter(TITLE.findall(prose)),
                links=Counter(link.replace(".zh-CN.md", ".md") for link in LINK.findall(prose)),
            )


def blocks(text: str) -> Iterator[str]:
    """A paragraph's lines count as one, an item's as well, each of code for itself."""
    for fenced, lines in groupby(fences(text), key=lambda line: line[0]):
        if fenced:
            yield from (LABEL.sub("", line) for _, line in lines)
        else:
            yield from plain("\n".join(line for _, line in lines))


def fences(text: str) -> Iterator[tuple[bool, str]]:
    inside = False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        yield inside, line


def plain(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text.strip()):
        for line in block.splitlines():
            if line.startswith("    "):
                yield COMMENT.sub(" #", line.strip())
            elif line.startswith("|"):
                yield "row"
            elif ITEM.match(line):
                yield "item"
        if block and not block.startswith(("    ", "|", "```")) and not ITEM.match(block):
            yield "paragraph"


@pytest.mark.parametrize("page", PAGES)
def test_each_section_is_there_and_the_same(page: str) -> None:
    english, chinese = list(sections(read(ROOT / page))), list(sections(read(chinese_of(page))))
    for one, other in zip(english, chinese, strict=False):
        assert other == one
    assert len(chinese) == len(english)


@pytest.mark.parametrize("page", PAGES)
def test_it_is_translated(page: str) -> None:
    text = re.sub(r"```.*?```", "", read(chinese_of(page)), flags=re.DOTALL)
    paragraphs = [block for block in re.split(r"\n\s*\n", text) if "    " not in block[:4]]
    english = [block for block in paragraphs if not HAN.search(block) and not HEADING.fullmatch(block.strip())]
    assert english == []


@pytest.mark.parametrize("page", PAGES)
def test_each_language_leads_to_the_other(page: str) -> None:
    chinese = chinese_of(page)
    assert f"[简体中文]({chinese.name})" in (ROOT / page).read_text()
    assert f"[English]({Path(page).name})" in chinese.read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for path in (ROOT / page, chinese_of(page)):
        targets = [link.partition("#")[0] for link in LINK.findall(path.read_text()) if "://" not in link]
        assert [target for target in targets if target and not (path.parent / target).exists()] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("python -m daemon check\n", "python -m daemon chock\n"),
        ("### VectordDown", "### VectordGone"),
        ("`queue.high_water`", "`queue.low_water`"),
        ("* Several GPUs", "Several GPUs"),
        ("(#vectordsuperseded)", "(#vectordstalled)"),
        ("| memory |", "| memory | x |\n| more |"),
        ("*Failures by reason*", "*Failures by season*"),
        ("## Back up", "### Back up"),
        ("\n### VectordRestarting", "\nOne more paragraph.\n\n### VectordRestarting"),
    ],
)
def test_a_change_of_one_language_shows(before: str, after: str) -> None:
    """On a page of the same kinds of things as the real ones."""
    page = (
        "# Operations\n\nFirst.\n\n    python -m daemon check\n    # a comment\n\n"
        "* Several GPUs: `queue.high_water`.\n\n"
        "| a | b |\n| --- | --- |\n| memory | y |\n\n## Back up\n\nAs you do.\n\n### VectordDown\n\n"
        "See [this](#vectordsuperseded), *Failures by reason*.\n\n### VectordRestarting\n\nLast.\n"
    )
    assert before in page
    assert list(sections(page.replace(before, after))) != list(sections(page))
    assert list(sections(page.replace("First", "Other words").replace("a comment", "another"))) == list(sections(page))
