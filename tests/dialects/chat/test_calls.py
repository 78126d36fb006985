"""Tool calls as servers stream them, and what they mean."""

import pytest

from tests.dialects.chat.frames import DONE, LIMIT, STOP, TOOLS, call, chunk, decode, told
from trioproxy.dialects.chat.decoder import ChatDecoder
from trioproxy.errors import RemoteProtocolError
from trioproxy.model.events import (
    ArgumentsDelta,
    Event,
    ItemClosed,
    ItemKind,
    ItemOpened,
    Started,
)
from trioproxy.model.fault import FaultKind
from trioproxy.model.fold import Response, fold
from trioproxy.model.grammar import complaints
from trioproxy.model.items import ToolCall
from trioproxy.model.usage import FinishReason


def calls(response: Response) -> list[tuple[str, str, str]]:
    return [(item.id, item.name, item.arguments) for item in response.items if isinstance(item, ToolCall)]


def test_call_waits_for_id_and_name() -> None:
    decoder = ChatDecoder(LIMIT)
    assert decoder.feed(chunk(call(name="f", arguments='{"a"'))) == [Started("c1", "m", 7)]
    assert decoder.feed(chunk(call(id="x", arguments=":1}"))) == [
        ItemOpened(0, ItemKind.FUNCTION, "x", "f"),
        ArgumentsDelta(0, '{"a"'),
        ArgumentsDelta(0, ":1}"),
    ]


def test_id_that_never_comes_is_made_up_alike_each_time() -> None:
    stream = [chunk(call(0, name="f", arguments="{}")), chunk(call(1, name="g", arguments="{}")), TOOLS, DONE]
    assert calls(told(*stream)) == calls(told(*stream)) == [("call_0", "f", "{}"), ("call_1", "g", "{}")]


def test_same_id_twice_gets_a_suffix() -> None:
    stream = [chunk(call(place, id="call_0", name="f", arguments="{}")) for place in range(3)]
    assert calls(told(*stream, TOOLS, DONE)) == [("call_0", "f", "{}"), ("call_0_2", "f", "{}"), ("call_0_3", "f", "{}")]


def test_index_left_out_id_tells_calls_apart() -> None:
    stream = [call(None, id="x", name="f", arguments='{"a":'), call(None, arguments="1}"), call(None, id="y", name="f", arguments="{}")]
    assert calls(told(*map(chunk, stream), TOOLS, DONE)) == [("x", "f", '{"a":1}'), ("y", "f", "{}")]


def test_index_and_id_left_out_a_name_begins_a_call() -> None:
    stream = [call(None, name="f", arguments="{}"), call(None, name="f", arguments='{"a":1}'), call(None, name="g", arguments="{}")]
    assert calls(told(*map(chunk, stream), TOOLS, DONE)) == [("call_0", "f", "{}"), ("call_1", "f", '{"a":1}'), ("call_2", "g", "{}")]


def test_several_whole_calls_in_one_delta() -> None:
    entries = [{"id": each, "type": "function", "function": {"name": each, "arguments": "{}"}} for each in "xy"]
    assert calls(told(chunk({"tool_calls": entries}), STOP, DONE)) == [("x", "x", "{}"), ("y", "y", "{}")]


def test_every_call_numbered_zero() -> None:
    stream = [call(0, id="x", name="f", arguments="{}"), call(0, id="y", name="g", arguments="{}")]
    assert calls(told(*map(chunk, stream), STOP, DONE)) == [("x", "f", "{}"), ("y", "g", "{}")]


@pytest.mark.parametrize("later", [{"id": "x", "name": "f"}, {"id": "", "name": ""}, {"id": "other"}, {"id": "other", "name": "f"}, {}])
def test_id_and_name_count_once(later: dict[str, str]) -> None:
    stream = [call(0, id="x", name="f", arguments='{"a":'), call(0, arguments="1", **later), call(0, arguments="}", **later)]
    assert calls(told(*map(chunk, stream), TOOLS, DONE)) == [("x", "f", '{"a":1}')]


def test_arguments_as_an_object() -> None:
    assert calls(told(chunk(call(0, id="x", name="f", arguments={"a": [1]})), STOP, DONE)) == [("x", "f", '{"a":[1]}')]


def test_call_without_arguments_has_an_empty_object() -> None:
    assert calls(told(chunk(call(0, id="x", name="f", arguments="")), TOOLS, DONE)) == [("x", "f", "{}")]


def test_whole_call_sent_again_at_the_end() -> None:
    stream = [call(0, id="x", name="f", arguments='{"a"'), call(0, arguments=":1}"), call(0, id="x", name="f", arguments='{"a":1}')]
    assert calls(told(*map(chunk, stream), TOOLS, DONE)) == [("x", "f", '{"a":1}')]


def test_legacy_function_call() -> None:
    stream = [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": '{"a":'}}, {"function_call": {"arguments": "1}"}}]
    response = told(*map(chunk, stream), chunk({}, "function_call"), DONE)
    assert calls(response) == [("call_0", "f", '{"a":1}')]
    assert response.finish is FinishReason.TOOL_CALLS


def test_custom_call() -> None:
    first = {"index": 0, "id": "x", "type": "custom", "custom": {"name": "patch", "input": "a"}}
    second = {"index": 0, "custom": {"input": "b"}}
    response = told(chunk({"tool_calls": [first]}), chunk({"tool_calls": [second]}), TOOLS, DONE)
    assert response.items == (ToolCall("x", "patch", "ab", "custom"),)


def opened_and_closed(events: list[Event]) -> list[tuple[str, int]]:
    return [(type(event).__name__[4:], event.index) for event in events if isinstance(event, ItemOpened | ItemClosed)]


def test_whole_call_closes_when_the_next_one_opens() -> None:
    stream = [call(0, id="x", name="f", arguments="{}"), call(1, id="y", name="g", arguments="{}")]
    assert opened_and_closed(decode(*map(chunk, stream), TOOLS, DONE)) == [("Opened", 0), ("Closed", 0), ("Opened", 1), ("Closed", 1)]


def test_interleaved_calls_overlap() -> None:
    stream = [call(0, id="x", name="f", arguments='{"a":'), call(1, id="y", name="g", arguments='{"b":'), call(0, arguments="1}"), call(1, arguments="2}")]
    events = decode(*map(chunk, stream), TOOLS, DONE)
    assert complaints(events) == []
    assert opened_and_closed(events) == [("Opened", 0), ("Opened", 1), ("Closed", 0), ("Closed", 1)]
    assert calls(fold(events)) == [("x", "f", '{"a":1}'), ("y", "g", '{"b":2}')]


def test_call_that_goes_on_after_it_was_whole_is_a_broken_peer() -> None:
    stream = [call(0, id="x", name="f", arguments="{}"), call(1, id="y", name="g", arguments="{}"), call(0, arguments="1")]
    with pytest.raises(RemoteProtocolError, match="went on"):
        decode(*map(chunk, stream))


def test_space_after_whole_arguments_is_forgiven() -> None:
    stream = [call(0, id="x", name="f", arguments="{}"), call(1, id="y", name="g", arguments="{}"), call(0, arguments=" \n")]
    assert calls(told(*map(chunk, stream), TOOLS, DONE)) == [("x", "f", "{}"), ("y", "g", "{}")]


def test_call_without_a_name_is_no_whole_answer() -> None:
    response = told(chunk(call(0, id="x", arguments="{}")), TOOLS, DONE)
    assert response.fault is not None
    assert response.fault.kind is FaultKind.UPSTREAM
