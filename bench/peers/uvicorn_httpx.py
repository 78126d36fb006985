"""What one writes in an afternoon: a Starlette application under uvicorn that hands bytes on with httpx. It translates nothing.

Runs in a virtual environment of its own (`python bench/run.py --install-peers`); the package under test never imports it.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

BASE = os.environ["UPSTREAM"]
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=1024)
client = httpx.AsyncClient(base_url=BASE, timeout=60, limits=LIMITS)


async def relay(request: Request) -> Response:
    """Pass one request on; a stream is passed on piece by piece."""
    body = await request.body()
    headers = {name: request.headers[name] for name in ("content-type", "authorization") if name in request.headers}
    onward = client.build_request("POST", request.url.path, content=body, headers=headers)
    stream = json.loads(body).get("stream") is True
    answer = await client.send(onward, stream=stream)
    kind = answer.headers.get("content-type")
    if not stream:
        return Response(answer.content, answer.status_code, media_type=kind)

    async def pieces() -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        finally:
            await answer.aclose()

    return StreamingResponse(pieces(), answer.status_code, media_type=kind)


app = Starlette(routes=[Route("/{path:path}", relay, methods=["POST"])])
