"""What requests bring: ids, URLs, reasons, and the bodies. Field names are those of the service that vectord replaces.

The schemas written out here say what the checks beside them do, so that a program can know it beforehand.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from daemon.errors import Reason

LARGEST = 2**63 - 1
MOST_IMAGES = 2**53 - 1
"""The largest whole number that every reader of JSON takes for itself."""
MOST_IDS = 10_000
LONGEST_ID = 200
LONGEST_URL = 8192
PRINTABLE = r"[^\x00-\x1f\x7f]*$"

ID_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": LONGEST_ID, "pattern": f"^{PRINTABLE}"},
        {"type": "integer", "minimum": -LARGEST - 1, "maximum": LARGEST},
    ],
    "examples": ["123456"],
}
URL_SCHEMA: dict[str, Any] = {
    "type": "string",
    "maxLength": LONGEST_URL,
    "pattern": f"^[Hh][Tt][Tt][Pp][Ss]?://{PRINTABLE}",
    "examples": ["https://example.com/image.jpg"],
}
REASON_SCHEMA: dict[str, Any] = {"type": "string", "enum": [reason.label for reason in Reason]}


def _whole(value: object) -> object:
    """To JSON 1.0 is a whole number, and some programs write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_text(value: object) -> object:
    """A number is an id, too; true is none."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _printable(value: object) -> object:
    if isinstance(value, str) and any(_is_control(ord(sign)) for sign in value):
        raise ValueError("it has control characters in it")
    return value


def _is_control(sign: int) -> bool:
    """Half a surrogate pair, too, can be sent on to nobody."""
    return sign < 32 or sign == 127 or 0xD800 <= sign < 0xE000


ImageIdText = Annotated[
    str,
    BeforeValidator(_printable),
    BeforeValidator(_as_text),
    BeforeValidator(_whole),
    StringConstraints(min_length=1, max_length=LONGEST_ID),
    WithJsonSchema(ID_SCHEMA),
]
"""An image's id, text or number; text throughout, since a bigint is more than a JavaScript number can hold."""

Location = Annotated[
    str,
    BeforeValidator(_printable),
    StringConstraints(min_length=1, max_length=LONGEST_URL),
    WithJsonSchema(URL_SCHEMA),
]
"""An http(s) URL. That it is one is found out later (`embedding.require_web`), with the reason that images get, too."""

ReasonLabel = Annotated[str, WithJsonSchema(REASON_SCHEMA)]
"""The name of a `Reason`."""


class Body(BaseModel):
    """A request's body: an unknown field is a mistake, and so is "true" for true."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ProcessImage(Body):
    """An image to work on now. `image_url` is fetched instead of the image's own location, where it is given."""

    image_id: ImageIdText
    image_url: Location | None = None


class ProcessAll(Body):
    """Images to work on: all, or `limit` of them. `force_reprocess`: also those that have a vector."""

    limit: Annotated[int, Field(ge=1, le=MOST_IMAGES), BeforeValidator(_whole)] | None = Field(
        default=None, examples=[100]
    )
    skip_processed: bool = True
    force_reprocess: bool = False
    wait: bool = False


def _one_of_three(schema: dict[str, Any]) -> None:
    """What no list of fields can say."""
    nothing = {"type": "null"}
    others = {"image_id": nothing, "reason": nothing, "all": {"const": False}}
    chosen = {"image_id": ID_SCHEMA, "reason": REASON_SCHEMA, "all": {"const": True}}
    del schema["properties"], schema["additionalProperties"]
    schema["oneOf"] = [
        {
            "type": "object",
            "properties": others | {name: of_it},
            "required": [name],
            "additionalProperties": False,
        }
        for name, of_it in chosen.items()
    ]
    schema["examples"] = [{"image_id": "123456"}, {"reason": "not_found"}, {"all": True}]


class RetryBody(Body):
    """One of the three."""

    model_config = ConfigDict(json_schema_extra=_one_of_three)

    image_id: ImageIdText | None = None
    reason: ReasonLabel | None = None
    all: bool = False
