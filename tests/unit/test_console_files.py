"""console: what can be told from its files alone, without a browser."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from daemon.api.assets import FOLDER, VERSION, Assets
from daemon.errors import Reason

OWN = sorted(path for path in FOLDER.glob("*") if path.suffix in {".js", ".css", ".html", ".svg"})
STRINGS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "strings").glob("*.json"))}
DANGEROUS = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc|DOMParser")
QUOTED = re.compile(r"\"([\w.]+(?: [\w.]+)*)\"")
MADE = re.compile(r"`([a-z]+(?:\.[a-z]+)*\.)\$\{")
SAID = re.compile(r"\b(?:t|maybe)\(\"([\w. ]+)\"")


def forms(text: Any) -> list[str]:
    return list(text.values()) if isinstance(text, dict) else [text]


def test_both_languages_say_all_of_it() -> None:
    assert set(STRINGS) == {"en", "zh-CN"}
    assert STRINGS["en"].keys() == STRINGS["zh-CN"].keys()
    for key, english in STRINGS["en"].items():
        names = {name for form in forms(english) for name in re.findall(r"\{(\w+)\}", form)}
        for form in forms(STRINGS["zh-CN"][key]):
            assert set(re.findall(r"\{(\w+)\}", form)) == names, key


def test_every_reason_is_explained_in_both_languages() -> None:
    for reason in Reason:
        assert STRINGS["en"][f"reason.{reason.label}"] == reason.explanation
        assert re.search(r"[\u4e00-\u9fff]", STRINGS["zh-CN"][f"reason.{reason.label}"]), reason
    known = {key for key in STRINGS["en"] if key.startswith("reason.")}
    assert known == {f"reason.{reason.label}" for reason in Reason}


def test_every_word_that_is_said_is_there_and_none_is_left_over() -> None:
    code = "\n".join(path.read_text() for path in OWN if path.suffix == ".js")
    words = STRINGS["en"].keys()
    assert set(SAID.findall(code)) <= words
    # What is made of a beginning and a name, such as `stage.${name}`, and what is chosen between two.
    beginnings = tuple(MADE.findall(code))
    for key in words - set(QUOTED.findall(code)):
        assert key.startswith(beginnings), key


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_makes_html_of_text_or_names_another_host(path: Path) -> None:
    text = path.read_text()
    assert not DANGEROUS.search(text)
    hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", text)) - {"http://www.w3.org/2000/svg"}
    assert hosts == set()
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)


def test_every_file_that_a_file_names_is_there() -> None:
    assets = Assets()
    page = assets.page.decode()
    assert VERSION not in page
    names = re.findall(rf"console/{assets.version}/([\w./-]+)", page)
    assert len(names) >= 5
    for path in OWN:
        names += re.findall(r"from \"\./([\w./-]+)\"", path.read_text())
    for name in names:
        assert assets.find(assets.version, name) is not None, name
    assert assets.find("other", "app.js") is None
    assert assets.find(assets.version, "../access.py") is None


def test_the_version_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>{version}</p>")
    (tmp_path / "a.js").write_text("1")
    first = Assets(tmp_path)
    assert first.page == f"<p>{first.version}</p>".encode()
    (tmp_path / "a.js").write_text("2")
    second = Assets(tmp_path)
    (tmp_path / "a.js").rename(tmp_path / "b.js")
    assert len({first.version, second.version, Assets(tmp_path).version}) == 3


def test_the_vendored_library_comes_with_its_licence() -> None:
    folder = FOLDER / "vendor" / "uplot"
    assert "MIT License" in (folder / "LICENSE").read_text()
    version = re.search(r"uPlot ([\d.]+)", (folder / "README.md").read_text())
    assert version is not None
    assert f"(v{version[1]})" in (folder / "uPlot.iife.min.js").read_text()[:200]
