"""A dialect for tests of the simulated backend: a request is `{"model", "text", "stream"}`, an answer is text, one line an event that is no delta."""

from collections.abc import Mapping
from typing import Any

import orjson

from trioproxy.dialects.base import Dialect, Face, Setting
from trioproxy.errors import FaultError
from trioproxy.model.events import Event, Failed, Finished, Metered, Started, TextDelta
from trioproxy.model.fault import Fault, FaultKind
from trioproxy.model.fold import Response
from trioproxy.model.items import Message, Text
from trioproxy.model.request import Request


class Encoder:
    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def encode(self, events: list[Event]) -> bytes:
        return "".join(map(self._line, events)).encode()

    def _line(self, event: Event) -> str:
        match event:
            case Started():
                return f"<{self.setting.model} {len(self.setting.id)}>\n"
            case TextDelta():
                return event.text
            case Metered():
                return f"\n[{event.usage.total}]"
            case Finished():
                return f"\n{event.reason.value}\n"
            case Failed():
                return f"!{event.fault.kind.value}\n"
        return ""


def check(doc: Mapping[str, Any]) -> None:
    if not isinstance(doc, dict) or not isinstance(doc.get("model"), str):
        raise FaultError(Fault(FaultKind.INVALID, "no model", param="model"))


def read_request(doc: Mapping[str, Any]) -> Request:
    return Request(doc["model"], (Message("user", (Text(doc.get("text", "")),)),), stream=doc.get("stream", False))


def write_response(response: Response, setting: Setting) -> bytes:
    return orjson.dumps([part.text for item in response.items if isinstance(item, Message) for part in item.parts if isinstance(part, Text)])


def write_fault(fault: Fault) -> tuple[int, bytes]:
    return fault.http_status, orjson.dumps({"kind": fault.kind.value, "message": fault.message})


def never(*_: object) -> Any:
    raise AssertionError("a backend does not ask for this")


STUB = Dialect(
    name="stub",
    faces=(Face("POST", "/v1/stub"),),
    target=never,
    check=check,
    read_request=read_request,
    write_request=never,
    Decoder=never,
    Encoder=Encoder,
    Scanner=never,
    read_response=never,
    write_response=write_response,
    read_fault=never,
    write_fault=write_fault,
    heartbeat=None,
    losses={},
    quirks={},
)
