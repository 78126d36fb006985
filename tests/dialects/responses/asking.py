"""Shared by the tests of requests: read one, write one, read and write one, or expect that it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trioproxy.dialects.responses import RESPONSES
from trioproxy.errors import FaultError
from trioproxy.model.request import Request

CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "3"}


def read(**fields: Any) -> Request:
    return RESPONSES.read_request({"model": "m", "input": "x"} | fields)


def items(*docs: dict[str, Any]) -> tuple[Any, ...]:
    return read(input=list(docs)).items


def write(request: Request, *quirks: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    written = RESPONSES.write_request(request, "up", frozenset(quirks))
    return json.loads(written.body), written.losses


def again(**fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A request, read and written for a backend of the same dialect."""
    return write(read(**fields))


def refused(**fields: Any) -> tuple[str | None, str | None]:
    with pytest.raises(FaultError) as caught:
        read(**fields)
    assert caught.value.fault.http_status == 400
    return caught.value.fault.param, caught.value.fault.code
