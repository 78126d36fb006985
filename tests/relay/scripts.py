"""Answers of backends, as bytes."""

import json

from trioproxy.config.schema import CredentialConfig
from trioproxy.dialects import DIALECTS
from trioproxy.testing.scripted import Script, ScriptedBackend

CHAT = DIALECTS["chat"]
RESPONSES = DIALECTS["responses"]
ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
ASK_STREAM = {**ASK, "stream": True}
RESPOND = {"model": "m", "input": "Hello"}
RESPOND_STREAM = {**RESPOND, "stream": True}
DONE = b"data: [DONE]\n\n"


def frame(doc) -> bytes:
    return b"data: " + json.dumps(doc).encode() + b"\n\n"


def chunk(delta=None, finish=None, **more) -> bytes:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return frame({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m", "choices": choices, **more})


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk(finish="stop")
USAGE = frame(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m",
        "choices": [],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
)


def said(*texts: str) -> list[bytes]:
    return [chunk({"content": text}) for text in texts]


def stream(*texts: str) -> Script:
    """A whole Chat Completions stream."""
    return Script.of(ROLE, *said(*texts), STOP, USAGE, DONE)


def plain(text: str = "Hi") -> Script:
    """A whole Chat Completions answer."""
    doc = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, "refusal": None}, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    return Script.plain(json.dumps(doc).encode())


def error(status: int, message: str = "no", code: str | None = None, **headers: str) -> Script:
    """An error answer in OpenAI's shape."""
    body = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": code}}).encode()
    return Script.plain(body, status, {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()})


def text_of(answer) -> str:
    """All text of a streamed answer, of either client dialect."""
    parts = []
    for event in answer.events:
        if event == "[DONE]":
            continue
        if event.get("type") == "response.output_text.delta":
            parts.append(event["delta"])
        for choice in event.get("choices", ()):
            parts.append(choice["delta"].get("content") or "")
    return "".join(parts)


def kinds(answer) -> list[str]:
    """Types of the events of a Responses stream, in order."""
    return [event if event == "[DONE]" else event["type"] for event in answer.events]


def chat(*scripts, **more):
    return ScriptedBackend("b", CHAT, scripts, **more)


def limited(*names, most=1):
    return [CredentialConfig(name, max_in_flight=most) for name in names]
