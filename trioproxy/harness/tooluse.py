"""Which tools the simulated model calls, and with what arguments.

`demo` calls a tool when the request says it must, or when words of the last user message occur in the tool's name, description or parameters. Arguments are
made from the parameters' schema; names and numbers of the message go into them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from trioproxy.harness import prose
from trioproxy.harness.example import Example, Hints
from trioproxy.model.items import Message
from trioproxy.model.request import Request, Tool

_MOST: Final = 4  # parallel calls that `demo` makes by itself
_STEM: Final = 4  # letters two words must have in common at their beginnings


@attrs.frozen
class Use:
    """One call to be made: `arguments` is JSON text, or free text for a custom tool."""

    id: str
    tool: Tool
    arguments: str


def uses(request: Request, wanted: int | None, rng: random.Random) -> list[Use]:
    """The calls that answer `request`, none where it is answered in words.

    Args:
        request: what was asked.
        wanted: make so many calls wherever a tool may be called and the last item is no tool result; None leaves it to the conversation.
        rng: source of ids and of what the schema leaves open.
    """
    tools = _allowed(request)
    if not tools or (wanted is not None and prose.results_of(request)):
        return []
    prompt = prose.prompt_of(request)
    if wanted is not None:
        return [_use(tools[place % len(tools)], prompt, rng, place) for place in range(wanted)]
    chosen = _chosen(request, tools, prompt)
    if request.parallel_tools is False:
        chosen = chosen[:1]
    return [_use(tool, prompt, rng, place) for tool, place in chosen[:_MOST]]


def _allowed(request: Request) -> list[Tool]:
    """The tools we can call and may: hosted ones are the backend's own business, and a simulated one has none."""
    choice = request.tool_choice
    tools = [tool for tool in request.tools if tool.kind in ("function", "custom")]
    if choice is None:
        return tools
    if choice.mode == "none":
        return []
    return [tool for tool in tools if not choice.names or tool.name in choice.names]


def _chosen(request: Request, tools: list[Tool], prompt: str) -> list[tuple[Tool, int]]:
    """(tool, which of the message's names it is about)."""
    choice = request.tool_choice
    must = choice is not None and choice.mode == "required"
    asked = bool(request.items) and isinstance(request.items[-1], Message) and request.items[-1].role == "user"
    if must and choice is not None and choice.forced:
        return [(tools[0], 0)]
    if not asked:
        # Required calls after results would never end: a model that was answered answers.
        return [(tools[0], 0)] if must and not prose.results_of(request) else []
    fitting = [tool for tool in tools if _fits(tool, prompt)] or (tools[:1] if must else [])
    if len(fitting) == 1 and _takes_one_name(fitting[0]):
        return [(fitting[0], place) for place in range(max(1, len(prose.names(prompt))))]
    return [(tool, 0) for tool in fitting]


def _fits(tool: Tool, prompt: str) -> bool:
    spoken = re.sub(r"([a-z])([A-Z])", r"\1 \2", tool.name).replace("_", " ").replace("-", " ")
    told = {word.lower() for word in prose.words(f"{spoken} {tool.description or ''} {' '.join(_properties(tool))}")}
    return any(_alike(one, other) for one in {word.lower() for word in prose.words(prompt)} for other in told)


def _alike(one: str, other: str) -> bool:
    if one == other:
        return True
    shared = min(len(one), len(other))
    return shared >= _STEM and one[: max(_STEM, shared - 2)] == other[: max(_STEM, shared - 2)]


def _properties(tool: Tool) -> Mapping[str, Any]:
    properties = (tool.parameters or {}).get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _takes_one_name(tool: Tool) -> bool:
    required = (tool.parameters or {}).get("required") or list(_properties(tool))[:1]
    first = _properties(tool).get(required[0]) if required else None
    return tool.kind == "function" and len(required) == 1 and isinstance(first, Mapping) and first.get("type") == "string" and not first.get("enum")


def _use(tool: Tool, prompt: str, rng: random.Random, place: int) -> Use:
    found = prose.names(prompt)
    turned = found[place % len(found) :] + found[: place % len(found)] if found else []
    hints = Hints(turned or prose.words(prompt)[:3], prose.numbers(prompt))
    call_id = f"call_{rng.getrandbits(96):024x}"
    if tool.kind == "custom":
        return Use(call_id, tool, prompt[:200] or "nothing in particular")
    arguments = Example(tool.parameters or {"type": "object"}, rng, hints).value()
    return Use(call_id, tool, json.dumps(arguments if isinstance(arguments, dict) else {}, ensure_ascii=False))
