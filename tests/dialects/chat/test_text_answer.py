"""The short way to read an answer that is one text is an optimisation: where it is taken it gives the events of the long way."""

from typing import Any

import pytest

from trioproxy.dialects.chat.response import read_any, read_text

CHOICE: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
ANSWER: dict[str, Any] = {"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "choices": [CHOICE]}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 2}}


def choice(**fields: Any) -> dict[str, Any]:
    return ANSWER | {"choices": [CHOICE | fields]}


def message(**fields: Any) -> dict[str, Any]:
    return choice(message=CHOICE["message"] | fields)


@pytest.mark.parametrize(
    "doc",
    [
        ANSWER,
        ANSWER | {"usage": USAGE},
        ANSWER | {"usage": {}, "service_tier": "flex"},
        ANSWER | {"id": None, "created": "soon", "model": 3, "service_tier": 3},
        {"choices": [CHOICE]},
        choice(finish_reason="length"),
        choice(finish_reason="Content_Filter"),
        choice(finish_reason="tool_calls"),
        choice(finish_reason="whatever"),
        choice(logprobs=None, delta=None),
        message(refusal=None, annotations=[], tool_calls=None, reasoning_content="", audio=None),
    ],
)
def test_text(doc: dict[str, Any]) -> None:
    assert read_text(doc) == read_any(doc, lenient=False)


@pytest.mark.parametrize(
    "doc",
    [
        ANSWER | {"choices": []},
        ANSWER | {"choices": [CHOICE, CHOICE]},
        ANSWER | {"choices": {"a": CHOICE}},
        ANSWER | {"choices": "c"},
        ANSWER | {"choices": 1},
        ANSWER | {"choices": [[CHOICE]]},
        ANSWER | {"error": {"message": "no"}},
        ANSWER | {"object": "error"},
        choice(index=1),
        choice(message=[]),
        choice(message=None),
        choice(finish_reason=None),
        choice(finish_reason="error"),
        choice(finish_reason=1),
        choice(delta={"content": "other"}),
        choice(usage=USAGE),
        choice(logprobs={"content": []}),
        message(content=""),
        message(content=None),
        message(content=[{"type": "text", "text": "hi"}]),
        message(refusal="no"),
        message(reasoning_content="hm"),
        message(annotations=[{"type": "url_citation"}]),
        message(tool_calls=[{}]),
        message(function_call={"name": "f"}),
    ],
)
def test_anything_else_goes_the_long_way(doc: dict[str, Any]) -> None:
    assert read_text(doc) is None
