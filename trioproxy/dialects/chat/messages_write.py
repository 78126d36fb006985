"""Canonical items → the messages of a Chat Completions request.

Rule 1: what the model did in one go (text, thought, calls) becomes one assistant message; a second text without a call between starts another.
Rule 2: the results of a message's calls follow it directly, wherever the client put them, because Chat accepts nothing in between.
Rule 3: a tool message holds text only; what else a result holds follows in a user message behind all results, and is disclosed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import attrs
import orjson

from trioproxy.dialects.chat.emulation import custom_arguments, flat_name
from trioproxy.dialects.chat.messages_read import DIALECT
from trioproxy.dialects.shape import refuse, unsupported, unsupported_value
from trioproxy.model.items import Audio, File, ForeignItem, ForeignPart, Image, Item, Message, Part, Reasoning, Refusal, Text, ToolCall, ToolResult

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BEHIND: Final = "(The result is in the message that follows.)"


@attrs.define(eq=False)
class _Turn:
    """One assistant message in the making."""

    texts: list[str] = attrs.field(factory=list)
    refusals: list[str] = attrs.field(factory=list)
    thoughts: list[Reasoning] = attrs.field(factory=list)
    calls: list[tuple[int, ToolCall]] = attrs.field(factory=list)

    @property
    def said(self) -> bool:
        return bool(self.texts or self.refusals)


class MessageWriter:
    """Writes one conversation; `messages` grows, and `losses` takes the path of what was dropped or changed."""

    def __init__(self, items: tuple[Item, ...], quirks: frozenset[str], losses: list[str]) -> None:
        self.messages: list[dict[str, Any]] = []
        self._items = items
        self._quirks = quirks
        self._losses = losses
        self._turn = _Turn()
        self._answers: set[int] = set()  # places of the results that were written with their calls

    def instruct(self, text: str) -> None:
        """Open with instructions."""
        self.messages.append({"role": self._role("developer"), "content": text})

    def write(self) -> None:
        """Write all items.

        Raises:
            FaultError: a part that Chat cannot say and that must not be dropped, or a result without its call.
        """
        for index, item in enumerate(self._items):
            path = f"items[{index}]"
            match item:
                case Reasoning():
                    self._think(item, path)
                case ToolCall():
                    self._turn.calls.append((index, item))
                case Message() if item.role == "assistant":
                    self._say(item, path)
                case ToolResult():
                    self._flush()
                    if index not in self._answers:
                        raise refuse(f"{path}.call_id", f"No tool call was found for the result in '{path}'.", "invalid_value")
                case Message():
                    self._flush()
                    self.messages.append({"role": self._role(item.role), "content": self._content(item.parts, path)})
                case ForeignItem():
                    self._write_foreign(item, path)
        self._flush()

    def _role(self, role: str) -> str:
        return "system" if role == "developer" and "system_role" in self._quirks else role

    def _write_foreign(self, item: ForeignItem, path: str) -> None:
        if item.dialect == DIALECT:
            self._flush()
            self.messages.append(dict(item.doc))
        else:
            self._losses.append(path)

    def _think(self, item: Reasoning, path: str) -> None:
        text_wanted = self._quirks & {"reasoning_content", "reasoning"}
        seal_wanted = "reasoning_details" in self._quirks and item.seal is not None and item.seal.dialect == DIALECT
        if (text_wanted and (item.text or item.summary)) or seal_wanted:
            # After a text a thought opens another turn, after a call it belongs to the same one: those calls were made side by side.
            if self._turn.said and not self._turn.calls:
                self._flush()
            self._turn.thoughts.append(item)
        else:
            self._losses.append(path)

    def _say(self, item: Message, path: str) -> None:
        if self._turn.said and not self._turn.calls:
            self._flush()
        text = []
        for index, part in enumerate(item.parts):
            if isinstance(part, Refusal):
                self._turn.refusals.append(part.text)
            elif isinstance(part, Text):
                text.append(part.text)
            else:
                raise unsupported_value(f"{path}.parts[{index}]", "An assistant message can hold only text for this model's backend.")
        if text or not item.parts:
            self._turn.texts.append("".join(text))

    def _flush(self) -> None:
        turn, self._turn = self._turn, _Turn()
        if not (turn.said or turn.calls or turn.thoughts):
            return
        silent = turn.refusals or turn.calls
        message: dict[str, Any] = {"role": "assistant", "content": "\n\n".join(turn.texts) if turn.texts or not silent else None}
        if turn.refusals:
            message["refusal"] = "".join(turn.refusals)
        self._add_thoughts(message, turn)
        if turn.calls:
            message["tool_calls"] = [self._call(call) for _, call in turn.calls]
        self.messages.append(message)
        self._answer(turn.calls)

    def _add_thoughts(self, message: dict[str, Any], turn: _Turn) -> None:
        text = "\n\n".join(thought.text or "\n\n".join(thought.summary) for thought in turn.thoughts)
        if text and "reasoning" in self._quirks:
            message["reasoning"] = text
        if "reasoning_content" in self._quirks and (text or turn.calls):
            message["reasoning_content"] = text
        if "reasoning_details" in self._quirks:
            details = [detail for thought in turn.thoughts if thought.seal is not None for detail in _details(thought.seal.blob)]
            if details:
                message["reasoning_details"] = details

    def _call(self, call: ToolCall) -> dict[str, Any]:
        name = flat_name(call.namespace, call.name)
        doc: dict[str, Any] = {"id": self._call_id(call.id), "type": "function"}
        if call.kind == "custom" and "no_custom_tools" not in self._quirks:
            return doc | {"type": "custom", "custom": {"name": name, "input": call.arguments}}
        arguments = custom_arguments(call.arguments) if call.kind == "custom" else call.arguments or "{}"
        return doc | {"function": {"name": name, "arguments": arguments}}

    def _call_id(self, call_id: str) -> str:
        if "short_call_ids" not in self._quirks or (len(call_id) == 9 and call_id.isalnum() and call_id.isascii()):
            return call_id
        number = int.from_bytes(hashlib.sha256(call_id.encode()).digest()[:8], "big")
        digits = []
        for _ in range(9):
            number, digit = divmod(number, 62)
            digits.append(_ALPHABET[digit])
        return "".join(digits)

    def _answer(self, calls: list[tuple[int, ToolCall]]) -> None:
        """Write the results of `calls`, in the order in which the client gave them; then what no tool message can hold."""
        behind: list[dict[str, Any]] = []
        for index, result in sorted(self._results(calls), key=lambda each: each[0]):
            self._answers.add(index)
            self._write_result(result, f"items[{index}]", behind)
        if behind:
            self.messages.append({"role": "user", "content": behind})

    def _results(self, calls: list[tuple[int, ToolCall]]) -> Iterator[tuple[int, ToolResult]]:
        # Some servers number their calls from 0 in every turn, so of several results the next one behind the call counts.
        for place, call in calls:
            for index in range(place + 1, len(self._items)):
                item = self._items[index]
                if isinstance(item, ToolResult) and item.call_id == call.id and index not in self._answers:
                    self._answers.add(index)
                    yield index, item
                    break

    def _write_result(self, result: ToolResult, path: str, behind: list[dict[str, Any]]) -> None:
        if result.is_error:
            self._losses.append(f"{path}.is_error")
        kept: list[Part] = []
        for index, part in enumerate(result.parts):
            if isinstance(part, Text | Refusal) or (isinstance(part, Image) and "image_results" in self._quirks):
                kept.append(part)
            else:
                behind.append(self._part(part, f"{path}.parts[{index}]"))
                self._losses.append(f"{path}.parts[{index}]")
        text = self._content(tuple(kept), path) if kept else _BEHIND if result.parts else ""
        self.messages.append({"role": "tool", "tool_call_id": self._call_id(result.call_id), "content": text})

    def _content(self, parts: tuple[Part, ...], path: str) -> str | list[dict[str, Any]]:
        texts = [part.text for part in parts if isinstance(part, Text | Refusal)]
        if len(texts) == len(parts) and (len(parts) < 2 or "string_content" in self._quirks):
            return "\n\n".join(texts)
        return [self._part(part, f"{path}.parts[{index}]") for index, part in enumerate(parts)]

    def _part(self, part: Part, path: str) -> dict[str, Any]:
        match part:
            case Text() | Refusal():
                return {"type": "text", "text": part.text}
            case Image():
                return self._image(part, path)
            case File():
                return _file(part, path)
            case Audio():
                return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
            case ForeignPart():
                if part.dialect == DIALECT:
                    return dict(part.doc)
                raise unsupported_value(path, "This kind of content cannot be sent to this model's backend.")

    def _image(self, part: Image, path: str) -> dict[str, Any]:
        if part.url is None:
            raise unsupported(f"{path}.file_id", "This model's backend takes images by URL or as data only.")
        image = {"url": part.url}
        if part.detail == "original":
            self._losses.append(f"{path}.detail")
        if part.detail is not None:
            image["detail"] = "high" if part.detail == "original" else part.detail
        return {"type": "image_url", "image_url": image}


def _file(part: File, path: str) -> dict[str, Any]:
    if part.data is None and part.file_id is None:
        raise unsupported(f"{path}.url", "This model's backend takes files as data or by id only.")
    said = {"file_data": part.data, "file_id": part.file_id, "filename": part.filename}
    return {"type": "file", "file": {key: value for key, value in said.items() if value is not None}}


def _details(blob: str) -> list[Any]:
    try:
        details = orjson.loads(blob)
    except ValueError:
        return []
    return details if isinstance(details, list) else []
