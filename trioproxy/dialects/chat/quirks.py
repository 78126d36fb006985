"""The deviations of backends that speak Chat Completions almost: each is a name in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

QUIRKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "system_role": "knows no developer role: developer messages and instructions are sent as system messages",
        "string_content": "takes only a string as content: a message's texts are joined, with a blank line between them",
        "max_tokens": "knows `max_tokens` and not `max_completion_tokens`",
        "no_custom_tools": "knows no custom tools: each is shown as a function with one string, `input`; one with a grammar is refused",
        "no_hints": "refuses fields it does not know: hints (cache key, safety id, user, tier, verbosity) are not sent and disclosed as losses",
        "no_stream_options": "refuses `stream_options`, so usage comes only when the backend sends it unasked",
        "no_finish_reason": "ends a stream with `[DONE]` alone: that counts as a whole answer even without a finish reason",
        "reasoning_content": "wants earlier thoughts back as `reasoning_content`; the key is sent with every turn that calls tools, even empty",
        "reasoning": "wants earlier thoughts back as `reasoning`",
        "reasoning_details": "wants sealed thoughts back as `reasoning_details`, unmodified",
        "image_results": "takes images in tool messages, where others get them in a user message behind",
        "short_call_ids": "takes call ids of exactly nine letters and digits: they are derived from the true ones",
        "top_k": "knows `top_k`",
    }
)
