"""Faults in the words of this dialect, inside a stream and in a failed response. Plain HTTP errors are OpenAI's, see `openai_errors`.

Rule: `error.code` of a failed response is text that clients branch on (Codex stops at `context_length_exceeded` and `insufficient_quota`, waits at
`rate_limit_exceeded` and `server_is_overloaded`, and repeats on anything else); what has no word of its own is `server_error`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from trioproxy.dialects.openai_errors import error_object, read_error, read_fault, write_fault
from trioproxy.model.fault import Fault, FaultKind

__all__ = ["error_event", "failed_error", "read_error", "read_event", "read_fault", "write_fault"]

# The API's own enumeration, and the words it uses in practice besides.
CODES: Final = frozenset(
    {
        "server_error", "rate_limit_exceeded", "invalid_prompt", "data_residency_mismatch", "bio_policy", "misalignment_policy_violation",
        "vector_store_timeout", "invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "image_too_large",
        "image_too_small", "image_parse_error", "image_content_policy_violation", "invalid_image_mode", "image_file_too_large",
        "unsupported_image_media_type", "empty_image_file", "failed_to_download_image", "image_file_not_found",
        "context_length_exceeded", "insufficient_quota", "server_is_overloaded",
    }
)  # fmt: skip
_BY_KIND: Final[Mapping[FaultKind, str]] = MappingProxyType(
    {
        FaultKind.INVALID: "invalid_prompt",
        FaultKind.RATE_LIMITED: "rate_limit_exceeded",
        FaultKind.QUOTA: "insufficient_quota",
        FaultKind.OVERLOADED: "server_is_overloaded",
    }
)


def failed_code(fault: Fault) -> str:
    """The `error.code` of a failed response."""
    if fault.code in CODES:
        assert fault.code is not None
        return fault.code
    return _BY_KIND.get(fault.kind, "server_error")


def failed_error(fault: Fault) -> dict[str, Any]:
    """The `error` of a failed response."""
    return {"code": failed_code(fault), "message": fault.message}


def error_event(fault: Fault) -> dict[str, Any]:
    """The fields of an `error` event besides `type` and `sequence_number`.

    Some clients read them flat, others below `error`: both are there, with the same code as the `response.failed` that follows.
    """
    code = failed_code(fault)
    return {"code": code, "message": fault.message, "param": fault.param, "error": error_object(fault) | {"code": code}}


def read_event(doc: Mapping[str, Any]) -> Fault:
    """What an `error` event means, flat or nested, or a frame with nothing but an `error` in it."""
    error = doc.get("error")
    status = doc.get("status")
    known = status if type(status) is int and 400 <= status <= 599 else None
    return read_error(error if error else dict(doc) | {"type": None}, known)
