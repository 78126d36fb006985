"""Faults of Chat Completions: OpenAI's error shape as an answer, and as the last frame of a stream that broke."""

from __future__ import annotations

import orjson

from trioproxy.dialects.openai_errors import error_object, read_error, read_fault, write_fault
from trioproxy.model.fault import Fault

__all__ = ["error_frame", "read_error", "read_fault", "write_fault"]


def error_frame(fault: Fault) -> bytes:
    """The frame that ends a stream with `fault`. No `[DONE]` follows it."""
    return b"data: " + orjson.dumps({"error": error_object(fault)}) + b"\n\n"
