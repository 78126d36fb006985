"""JSON in and out, and the one edit we make to a document without rendering it anew.

Rule 1: an error says where, never what: bodies hold prompts. Rule 2: nothing here raises anything but `BadJson`, whatever the peer sent.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

_BOM: Final = b"\xef\xbb\xbf"
_STRING_AFTER_KEY: Final = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')


class BadJson(ValueError):  # noqa: N818 - says what it is, as the stdlib names errors of syntax
    """Not JSON, or JSON that can't be rendered. The message names the place and repeats nothing of the document."""


def loads(raw: bytes) -> Any:
    """Read a document. A byte order mark is forgiven.

    Raises:
        BadJson: not JSON, not UTF-8, or deeper than 1,024 levels; the message has line and column.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        message = f"{exc.msg} (line {exc.lineno}, column {exc.colno})"
    if raw[:3] == _BOM:
        return loads(raw[3:])
    # Raised out here, the error has no context: the decoder's own exception keeps the whole document.
    raise BadJson(message)


def dumps(doc: Any) -> bytes:
    """Render a document.

    Raises:
        BadJson: deeper than 254 levels (the decoder takes 1,024), or it holds what JSON can't say.
    """
    try:
        return orjson.dumps(doc)
    except TypeError as exc:
        message = str(exc)
    raise BadJson(f"the document can't be rendered: {message}")


def depth_over(doc: Any, raw: bytes, limit: int) -> bool:
    """Whether `doc` nests deeper than `limit` levels; a scalar has none, `[]` one.

    Args:
        doc: the document as it was read.
        raw: its bytes. With few brackets in all it can't be deep, and counting them is cheap.
        limit: levels.
    """
    if raw.count(b"{") + raw.count(b"[") <= limit:
        return False
    level: list[Any] = [doc]
    for _ in range(limit + 1):
        level = [node for node in level if type(node) is dict or type(node) is list]
        if not level:
            return False
        level = [child for node in level for child in (node.values() if type(node) is dict else node)]
    return True


def splice_model(raw: bytes, doc: dict[str, Any], new: str) -> bytes:
    """Replace the string under the top-level key "model".

    Args:
        raw: the document's bytes; `loads(raw) == doc`.
        doc: the document.
        new: the name to put in.

    Returns:
        Bytes for which `loads(result) == doc | {"model": new}`. All others are those of `raw`, unless it is unusual (the key missing, twice, escaped,
        or not a string): then the whole is rendered anew.

    Raises:
        BadJson: rendered anew, and deeper than 254 levels.
    """
    if "model" in doc and b"\\u006" not in raw:
        # No letter of the key can be escaped now, so the key itself is one of the finds.
        count = raw.count(b'"model"')
        span = _only(raw) if count == 1 else _among(raw)
        if span:
            return b"".join((raw[: span[0]], dumps(new), raw[span[1] :]))
    return dumps({**doc, "model": new})


def _only(raw: bytes) -> tuple[int, int] | None:
    """Where the value stands when the key is spelled once in all of `raw`: then that one is it."""
    found = _STRING_AFTER_KEY.match(raw, raw.index(b'"model"'))
    return found.span(1) if found else None


def _among(raw: bytes) -> tuple[int, int] | None:
    """Where the value stands when "model" is spelled several times, as in schemas of tools; None unless one of them is the top-level key.

    With escaped quotes painted over, every second piece between quotes is a string. All the work is in split and count: 200 KB take
    about a third of the time of rendering them, a regular expression over the tokens four times as long.
    """
    plain = raw.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    pieces = plain.split(b'"')
    between, strings = pieces[::2], pieces[1::2]
    depth = seen = 0
    key = None
    at = -1
    for _ in range(strings.count(b"model")):
        at = strings.index(b"model", at + 1)
        code = b"".join(between[seen : at + 1])
        depth += code.count(b"{") + code.count(b"[") - code.count(b"}") - code.count(b"]")
        seen = at + 1
        if depth == 1 and between[at + 1].lstrip().startswith(b":"):
            if key is not None:
                return None
            key = at
    if key is None or between[key + 1].strip() != b":":
        return None
    # Each piece before the value is followed by one quote.
    before = 2 * key + 3
    begin = sum(map(len, pieces[:before])) + before - 1
    return begin, begin + len(strings[key + 1]) + 2
