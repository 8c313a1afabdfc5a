"""The console: one page and its files, without any data in them."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from daemon.api.assets import Assets
from daemon.api.problems import Problem

ROUTES = ("/", "/console/{version}/{name:path}")
METHODS = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing of other hosts, nothing inline, and, in browsers that know trusted types, no text ever becomes HTML."""
FOR_GOOD = "public, max-age=31536000, immutable"
HEADERS = {"Content-Security-Policy": POLICY, "Cross-Origin-Opener-Policy": "same-origin"}


def console_routes() -> APIRouter:
    """`/` and `/console/`."""
    router = APIRouter(include_in_schema=False)
    assets = Assets()
    tag = f'"{assets.version}"'

    @router.api_route(ROUTES[0], methods=list(METHODS))
    async def get_page(request: Request) -> Response:
        headers = HEADERS | {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("If-None-Match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(assets.page, headers=headers)

    @router.api_route(ROUTES[1], methods=list(METHODS))
    async def get_file(version: str, name: str) -> Response:
        if (asset := assets.find(version, name)) is None:
            raise Problem(404, "no_such_path", "no such file in this version of the console")
        return Response(asset.content, media_type=asset.media_type, headers=HEADERS | {"Cache-Control": FOR_GOOD})

    return router
