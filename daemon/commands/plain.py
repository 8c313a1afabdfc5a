"""`--json`: records as scripts read them."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any


def to_json(record: object) -> str:
    """One line of JSON: records and mappings become objects, times ISO 8601, ids that JSON has no form for text."""
    return json.dumps(_plain(record), ensure_ascii=False)


def _plain(value: object) -> Any:  # noqa: PLR0911 - one line for each kind of value
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case Mapping():
            return {"" if key is None else str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case _ if is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            return str(value)
