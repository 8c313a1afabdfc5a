"""RESULTS.md: a run of one benchmark replaces its own section, and leaves what people wrote."""

from pathlib import Path

from benchmarks.report import replace_sections

ORDER = ["first", "second", "third"]
BY_HAND = "# What was measured\n\nA preface.\n\n## By hand\n\nKept.\n"


def test_a_new_section_goes_where_its_turn_is(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(BY_HAND)
    for name in ("third", "first", "second"):
        replace_sections(results, {name: f"## {name}\n\nmeasured"}, ORDER)
    text = results.read_text()
    assert text.startswith(BY_HAND.rstrip())
    assert [text.index(f"## {name}") for name in ORDER] == sorted(text.index(f"## {name}") for name in ORDER)


def test_a_section_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(BY_HAND)
    replace_sections(results, {"first": "old figures", "second": "others"}, ORDER)
    results.write_text(results.read_text() + "\nA note at the end.\n")
    replace_sections(results, {"first": "new figures"}, ORDER)
    text = results.read_text()
    assert "old figures" not in text
    assert text.count("<!-- begin first -->") == 1
    for kept in ("new figures", "others", "Kept.", "A note at the end."):
        assert kept in text
