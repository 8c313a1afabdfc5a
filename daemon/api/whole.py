"""Paths with ids in them, whatever the ids are made of."""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match


class WholeIds(APIRoute):
    """A route whose parameters may hold slashes: `/images/a%2Fb` is about the image "a/b".

    A server decodes the path, and then nothing tells an id's slash from one that divides the path. So what is matched
    is the path as it was sent, and each parameter is decoded by itself.
    """

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        sent = {**scope, "path": scope["raw_path"].decode("latin-1")} if scope.get("raw_path") else scope
        match, found = super().matches(sent)
        if sent is not scope and "path_params" in found:
            found["path_params"] = {name: unquote(value) for name, value in found["path_params"].items()}
        return match, found
