"""What the simulated model says: a few sentences that admit what it is and tell the caller what arrived.

The facts in them (messages, tokens, tools, settings, pictures) are read off the request, so a glance at the answer shows whether the road to the backend
carried everything.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

from trioproxy.model.items import Audio, File, Image, Item, Message, Part, Reasoning, Text, ToolCall, ToolResult
from trioproxy.model.request import Request

_COMMON: Final = frozenset(  # words that tell nothing about a topic
    """
    a about above again all also am an and any are as at be because been before being below between both but by can could did do does doing
    don't down each few find for from further get give had has have having he hello help her here hers hey hi him his how i i'm if in into is it
    it's its just know let like look make many may me mean might more most much must my need no nor not now of off on once one only or other our
    out over own please say same see shall she should show so some something such tell than thank thanks that the their them then there these
    they thing think this those through to today too two under until up us use using very want was we were what what's when where which while
    who whom whose why will with word words would write yes you your yours
    """.split()  # noqa: SIM905  # four hundred quotation marks would not read better
)
_WORD: Final = re.compile(r"[^\W_][\w'’-]*")
_PIECE: Final = re.compile(r"\s*\S{1,6}|\s+\Z")

_OPENERS: Final = (
    "Ah, {topic}! I am a simulated model, so I have read every book about it that was never written.",
    "You ask about {topic}, and you ask a model with no weights at all. It weighs on me less than you would think.",
    "On {topic} the experts are divided; I am not, because I am a few hundred lines of Python.",
    "{topic}: a fine subject. My training data on it fits on a stamp, and the stamp is still on order.",
    "About {topic} I can say with perfect confidence what every simulated model says: it depends.",
)
_GREETINGS: Final = (
    "Hello! I am a simulated model: all of the manners, none of the weights.",
    "Good day! You have reached the simulated model. The real ones are in a data centre, being warm.",
)
_REMARKS: Final = (
    "If that sounds shallow, mind that it was also free.",
    "Ask a model with parameters for the rest; this road leads to those too.",
    "I would think longer about it, but my thoughts are paid by the millisecond.",
    "Should I have hallucinated, at least it was deterministic: the same question gets the same answer.",
    "A real model would now offer to write you a poem. I spare us both.",
)
_THOUGHTS: Final = (
    "The user wants to know about {topic}.",
    "I know nothing about {topic}, which narrows it down.",
    "I could guess, but the facts of the request are at hand; those I can report.",
    "So: an opening line, the facts, a closing line. Keep it short.",
)
REFUSAL: Final = "I'm sorry, but I can't help with that: my name says that I refuse."
_ENCORE: Final = "and so the simulated river of tokens flows on, past villages of commas and the occasional full stop, "


def pieces(text: str) -> list[str]:
    """`text` as the tokens a model would have sent: at most six letters each, spaces in front."""
    return _PIECE.findall(text)


def tokens(text: str) -> int:
    """About how many tokens `text` is: four characters each, rounded up."""
    return -(-len(text) // 4)


def words(text: str) -> list[str]:
    """The words of `text` that mean something by themselves, in order."""
    return [word for word in _WORD.findall(text) if word.lower() not in _COMMON and not word.isdigit()]


def names(text: str) -> list[str]:
    """What `text` seems to name: quoted words first, then capitalised ones that do not merely begin a sentence."""
    quoted = re.findall(r"[\"“'‘]([^\"”'’]{1,80})[\"”'’]", text)
    capital = re.findall(r"(?<![.!?]\s)(?<!\A)(?<=\s)([A-ZÀ-Þ][\w-]+(?:\s[A-ZÀ-Þ][\w-]+)*)", text)
    return list(dict.fromkeys(quoted + [name for name in capital if name.lower() not in _COMMON]))


def numbers(text: str) -> list[float]:
    """The numbers that occur in `text`."""
    return [float(number) if "." in number else int(number) for number in re.findall(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,6})?(?![\w.]*\w)", text)]


def text_of(parts: Sequence[Part]) -> str:
    """All text of `parts`."""
    return " ".join(part.text for part in parts if isinstance(part, Text))


def prompt_of(request: Request) -> str:
    """The text of the last user message, "" without one."""
    for item in reversed(request.items):
        if isinstance(item, Message) and item.role == "user":
            return text_of(item.parts)
    return ""


def results_of(request: Request) -> list[ToolResult]:
    """The tool results that end the conversation."""
    found: list[ToolResult] = []
    for item in reversed(request.items):
        if not isinstance(item, ToolResult):
            break
        found.insert(0, item)
    return found


def topic_of(prompt: str) -> str:
    """What `prompt` is about, in at most three of its own words; "" where they tell nothing."""
    telling = words(prompt[-2000:])
    longest = sorted(dict.fromkeys(telling), key=len, reverse=True)[:3]
    return " ".join(word for word in dict.fromkeys(telling) if word in longest)


def answer(request: Request, rng: random.Random) -> str:
    """What `demo` says to `request`."""
    topic = topic_of(prompt_of(request))
    results = results_of(request)
    opener = _report(request, results) if results else rng.choice(_OPENERS if topic else _GREETINGS).format(topic=topic)
    sentences = [opener[:1].upper() + opener[1:], _pictures(request), _facts(request), rng.choice(_REMARKS)]
    return " ".join(sentence for sentence in sentences if sentence)


def thoughts(request: Request) -> list[str]:
    """What `demo` thinks before it speaks, sentence by sentence."""
    topic = topic_of(prompt_of(request)) or "nothing in particular"
    return [thought.format(topic=topic) for thought in _THOUGHTS]


def filler(count: int) -> list[str]:
    """`count` deltas of text for `mock`."""
    flow = pieces(_ENCORE)
    return [flow[place % len(flow)] for place in range(count)]


def _report(request: Request, results: list[ToolResult]) -> str:
    called = {item.id: item.name for item in request.items if isinstance(item, ToolCall)}
    told = []
    for result in results:
        text = " ".join(text_of(result.parts).split()) or "nothing in words"
        verb = "failed with" if result.is_error else "says"
        told.append(f"{called.get(result.call_id, 'a tool')} {verb}: {text[:300]}{'…' if len(text) > 300 else ''}")
    return f"I asked {'a tool' if len(told) == 1 else f'{len(told)} tools'}. {'; '.join(told)}. That is more than I knew before."


def _facts(request: Request) -> str:
    roles = [item.role for item in request.items if isinstance(item, Message)]
    instructed = [role for role in roles if role in ("system", "developer")]
    told = [_count(len(roles) - len(instructed), "message"), f"about {prompt_tokens(request)} tokens"]
    # One dialect's instructions are another's system message: told alike, so that the answer doesn't depend on the road.
    if request.instructions or instructed:
        told.append("instructions")
    if request.tools:
        told.append(_count(len(request.tools), "tool"))
    told += [f"{key} {value:g}" for key, value in _settings(request)]
    return f"What I do know is what arrived: {', '.join(told[:-1])} and {told[-1]}."


def _settings(request: Request) -> list[tuple[str, float]]:
    sampling = request.sampling
    said = (("temperature", sampling.temperature), ("top_p", sampling.top_p), ("seed", sampling.seed), ("a limit of", sampling.max_tokens))
    return [(name, value) for name, value in said if value is not None]


def _pictures(request: Request) -> str:
    parts = [part for item in request.items[-1:] for part in _parts(item)]
    seen = [_picture(part) for part in parts if isinstance(part, Image)]
    if not seen:
        return ""
    return f"You also sent me {_count(len(seen), 'image')} ({'; '.join(seen)}), which I admired without eyes."


def _picture(image: Image) -> str:
    if image.url is None:
        return "one of your files"
    head, comma, data = image.url.partition(",")
    if image.url.startswith("data:") and comma:
        return f"{head[5:].partition(';')[0] or 'of a kind unknown'}, {len(data) * 3 // 4 - data.count('=')} bytes"
    return f"at {image.url[:100]}"


def _parts(item: Item) -> Sequence[Part]:
    return item.parts if isinstance(item, Message | ToolResult) else ()


def prompt_tokens(request: Request) -> int:
    """About how many tokens `request` is: its text, its tools, 85 for a picture."""
    counted = tokens(request.instructions or "")
    for item in request.items:
        match item:
            case Message() | ToolResult():
                counted += sum(_part_tokens(part) for part in item.parts)
            case ToolCall():
                counted += tokens(item.name) + tokens(item.arguments)
            case Reasoning():
                counted += tokens(item.text) + sum(map(tokens, item.summary))
    return counted + sum(tokens(tool.name + (tool.description or "") + str(tool.parameters or "")) for tool in request.tools)


def _part_tokens(part: Part) -> int:
    if isinstance(part, Text):
        return tokens(part.text)
    return 85 if isinstance(part, Image | File | Audio) else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
