"""What is wrong with a configuration, a line for each key: where it was set, what it takes, and what it was given."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import groupby
from typing import Any

from pydantic_core import ErrorDetails

SECRETIVE = "database"
"""The section of which nothing is quoted: any part of a DSN may be a password's."""
LONGEST_QUOTE = 60
SHOULD = "it should be "

Known = Mapping[str, Sequence[str]]
"""The keys of each section."""


def explain(details: Sequence[ErrorDetails], known: Known, set_by: Mapping[str, str]) -> Iterator[str]:
    """The lines. `set_by` gives the environment's variable of each key that the environment may have set."""
    for key, found in groupby(details, key=_key):
        alike = list(found)
        if alike[0]["type"] == "extra_forbidden":
            yield f"{key}: no such key{_suggestion_for(key, known)}"
        elif alike[0]["type"] == "model_type":
            yield f"{key}: it should be a section, with keys such as {known[key][0]}"
        elif alike[0]["type"] == "tuple_type":
            as_json = f"; in the environment as JSON: {set_by[key]}='[…]'" if key in set_by else ""
            yield f"{key}: it should be a list{as_json}"
        else:
            where = f" ({set_by[key]})" if key in set_by else ""
            wanted = _wanted(alike)
            given = _given(key, alike[0]["input"]) if wanted.startswith(SHOULD) else ""
            yield f"{key}{where}: {wanted}{given}"


def suggestion(name: str, known: Sequence[str]) -> str:
    """The name that was perhaps meant, as the end of a sentence."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _key(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"][:2])


def _suggestion_for(key: str, known: Known) -> str:
    section, _, name = key.partition(".")
    near = suggestion(name, known[section]) if name else suggestion(section, list(known))
    return near or _elsewhere(name or section, known)


def _elsewhere(name: str, known: Known) -> str:
    """The keys of this very name in other sections, as the end of a sentence."""
    places = [f"{section}.{name}" for section, keys in known.items() if name in keys]
    return f"; did you mean {' or '.join(places)}?" if places else ""


def _wanted(alike: Sequence[ErrorDetails]) -> str:
    """Of a key that takes this or that, pydantic tells what is wrong with it as the one and as the other."""
    words = [_told(detail).removeprefix("Value error, ").partition(", unable to")[0] for detail in alike]
    words = [text.replace("Input should be ", SHOULD) for text in words]
    return ", or ".join([words[0], *(text.removeprefix(SHOULD) for text in words[1:])])


def _told(detail: ErrorDetails) -> str:
    """Pydantic's words; of a path it names Python's class."""
    return f"{SHOULD}a path" if detail["type"] == "path_type" else detail["msg"]


def _given(key: str, value: Any) -> str:
    if key.partition(".")[0] == SECRETIVE or not isinstance(value, str | int | float):
        return ""
    text = repr(value)
    return f", not {text}" if len(text) <= LONGEST_QUOTE else ""
