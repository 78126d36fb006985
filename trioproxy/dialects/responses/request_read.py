"""A Responses request → the canonical form. Called only where a request is translated.

Rule 1: nothing is lost in silence: a field of the canonical form, an entry in `foreign`, or a refusal. Rule 2: what this gateway would have to do by itself
and does not (background runs, stored responses, conversations, prompt templates, moderation) is refused here, because no backend can do it for us.
Rule 3: `foreign` has an entry for this dialect, perhaps empty, exactly when the request was read here; our own writer goes by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from trioproxy.dialects.responses.check import check
from trioproxy.dialects.responses.items_read import read_input
from trioproxy.dialects.responses.seals import DIALECT
from trioproxy.dialects.responses.tools_read import read_format, read_tool_choice, read_tools
from trioproxy.dialects.shape import refuse, unsupported
from trioproxy.model.request import OutputFormat, Request, Sampling, ToolChoice

LOGPROBS: Final = "message.output_text.logprobs"

_REFUSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "background": "Background responses are not supported here.",
        "conversation": "Conversations are not stored here: send the whole conversation as 'input'.",
        "prompt": "Prompt templates are not stored here: send 'instructions' and 'input'.",
        "moderation": "Moderation is not supported here.",
    }
)
# Fields with a place in the canonical form, and those that say nothing when they hold what goes without saying.
_READ: Final = frozenset(
    {
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "temperature", "top_p", "top_logprobs",
        "presence_penalty", "frequency_penalty", "text", "reasoning", "store", "metadata", "user", "safety_identifier", "prompt_cache_key",
        "service_tier", "include", "stream", "stream_options", "previous_response_id", *_REFUSED,
    }
)  # fmt: skip
_SILENT: Final[Mapping[str, Any]] = MappingProxyType({"truncation": "disabled"})


def read_request(doc: dict[str, Any]) -> Request:
    """Read a request for `POST /responses`.

    Raises:
        FaultError: the request is malformed, or asks for what cannot be done in translation; with `param`.
    """
    check(doc)
    _refuse(doc)
    extras: dict[str, Any] = {key: value for key, value in doc.items() if key not in _READ and value is not None and _SILENT.get(key) != value}
    if (doc.get("stream_options") or {}).get("include_obfuscation"):
        extras["stream_options.include_obfuscation"] = True
    items = read_input(doc["input"], extras) if doc.get("input") is not None else ()
    tools = read_tools(doc.get("tools") or [], extras)
    choice: ToolChoice | None = None
    if doc.get("tool_choice") is not None:
        choice = read_tool_choice(doc["tool_choice"], tools)
    output, verbosity = _read_text(doc.get("text") or {}, extras)
    effort, summary = _read_reasoning(doc.get("reasoning") or {}, extras)
    return Request(
        model=doc["model"],
        items=items,
        instructions=doc.get("instructions"),
        tools=tools,
        tool_choice=choice,
        parallel_tools=doc.get("parallel_tool_calls"),
        sampling=_read_sampling(doc, extras),
        output=output,
        verbosity=verbosity,
        effort=effort,
        summary=summary,
        store=doc.get("store"),
        metadata=doc.get("metadata"),
        user=doc.get("user"),
        safety_id=doc.get("safety_identifier"),
        cache_key=doc.get("prompt_cache_key"),
        service_tier=doc.get("service_tier"),
        include=tuple(doc.get("include") or ()),
        stream=bool(doc.get("stream")),
        foreign={DIALECT: extras},
    )


def _refuse(doc: Mapping[str, Any]) -> None:
    previous = doc.get("previous_response_id")
    if previous:
        raise refuse("previous_response_id", f"Previous response with id '{previous[:128]}' not found.", "previous_response_not_found")
    for key, message in _REFUSED.items():
        if doc.get(key):
            raise unsupported(key, message)


def _read_sampling(doc: Mapping[str, Any], extras: dict[str, Any]) -> Sampling:
    logprobs = LOGPROBS in (doc.get("include") or ())
    most = doc.get("top_logprobs")
    if most and not logprobs:  # without the `include` it has no effect on the answer
        extras["top_logprobs"] = most
    return Sampling(
        max_tokens=doc.get("max_output_tokens"),
        temperature=doc.get("temperature"),
        top_p=doc.get("top_p"),
        presence_penalty=doc.get("presence_penalty"),
        frequency_penalty=doc.get("frequency_penalty"),
        logprobs=True if logprobs else None,
        top_logprobs=most if logprobs else None,
    )


def _read_text(text: Mapping[str, Any], extras: dict[str, Any]) -> tuple[OutputFormat | None, str | None]:
    for key, value in text.items():
        if key not in ("format", "verbosity") and value is not None:
            extras[f"text.{key}"] = value
    output = read_format(text["format"]) if text.get("format") is not None else None
    return output, text.get("verbosity")


def _read_reasoning(reasoning: Mapping[str, Any], extras: dict[str, Any]) -> tuple[str | None, str | None]:
    for key, value in reasoning.items():
        if key not in ("effort", "summary", "generate_summary") and value is not None:
            extras[f"reasoning.{key}"] = value
    return reasoning.get("effort"), reasoning.get("summary") or reasoning.get("generate_summary")
