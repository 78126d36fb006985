"""Requests for backends: what is sent, what is refused, and what is disclosed."""

from typing import Any

import attrs
import orjson
import pytest

from tests.dialects.chat.test_request_read import CALLED, EVERYTHING, SCHEMA
from trioproxy.dialects.chat import CHAT
from trioproxy.errors import FaultError
from trioproxy.model.items import (
    Audio,
    File,
    ForeignItem,
    ForeignPart,
    Image,
    Item,
    Message,
    Part,
    Reasoning,
    Refusal,
    Seal,
    Text,
    ToolCall,
    ToolResult,
)
from trioproxy.model.request import OutputFormat, Request, Sampling, Tool, ToolChoice

HI = Message("user", (Text("Hi"),))
BASE = Request.of("m", "Hi")


def write(request: Request = BASE, *quirks: str, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    written = CHAT.write_request(attrs.evolve(request, **fields), "target", frozenset(quirks))
    return orjson.loads(written.body), written.losses


def body(*quirks: str, **fields: Any) -> dict[str, Any]:
    """The body, where nothing may be lost."""
    doc, losses = write(BASE, *quirks, **fields)
    assert losses == ()
    return doc


def messages(*items: Item, quirks: tuple[str, ...] = (), losses: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    doc, lost = write(BASE, *quirks, items=items)
    assert lost == losses
    found: list[dict[str, Any]] = doc["messages"]
    return found


def refused(*quirks: str, **fields: Any) -> tuple[str | None, str | None]:
    with pytest.raises(FaultError) as caught:
        write(BASE, *quirks, **fields)
    return caught.value.fault.param, caught.value.fault.code


def user(*parts: Part) -> Message:
    return Message("user", parts)


def said(text: str) -> Message:
    return Message("assistant", (Text(text),))


def result(call_id: str, text: str) -> ToolResult:
    return ToolResult(call_id, (Text(text),))


def entry(call_id: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_shortest_request_says_nothing_unsaid() -> None:
    assert body() == {"model": "target", "messages": [{"role": "user", "content": "Hi"}]}


def test_stream_asks_for_usage() -> None:
    assert body(stream=True)["stream_options"] == {"include_usage": True}
    assert body(stream=True)["stream"] is True
    assert "stream_options" not in body("no_stream_options", stream=True)


def test_what_was_read_is_written_again() -> None:
    """Of a request in this dialect nothing is lost but what the gateway owns and what Chat itself cannot take."""
    CHAT.check(EVERYTHING)
    doc, losses = write(CHAT.read_request(EVERYTHING), "reasoning_content")
    wanted = {key: value for key, value in EVERYTHING.items() if key not in ("store", "metadata", "n", "model", "messages")}
    assert {key: value for key, value in doc.items() if key not in ("model", "messages")} == wanted
    given = [dict(message) for message in EVERYTHING["messages"]]
    given[1]["content"] = "Be kind."
    given[2] = orjson.loads(orjson.dumps(given[2]).replace(b'"original"', b'"high"'))
    given[4]["content"] = "done"
    assert doc["messages"] == given
    assert losses == ("items[2].parts[1].detail", "metadata")


# -- messages -------------------------------------------------------------------------------------------------------------------------------------------------


def test_instructions_come_first() -> None:
    assert body(instructions="Be brief.")["messages"][0] == {"role": "developer", "content": "Be brief."}
    assert body("system_role", instructions="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}


def test_system_role_is_for_every_developer_message() -> None:
    items = (Message("developer", (Text("a"),)), Message("system", (Text("b"),)), HI)
    assert [message["role"] for message in messages(*items)] == ["developer", "system", "user"]
    assert [message["role"] for message in messages(*items, quirks=("system_role",))] == ["system", "system", "user"]


def test_text_and_parallel_calls_are_one_message() -> None:
    items = (HI, said("Well."), ToolCall("x", "f", "{}"), ToolCall("y", "g", '{"a":1}'), result("y", "2"), result("x", "1"), HI)
    assert messages(*items)[1:] == [
        {"role": "assistant", "content": "Well.", "tool_calls": [entry("x"), entry("y", "g", '{"a":1}')]},
        {"role": "tool", "tool_call_id": "y", "content": "2"},
        {"role": "tool", "tool_call_id": "x", "content": "1"},
        {"role": "user", "content": "Hi"},
    ]


def test_calls_alone_have_no_content() -> None:
    assert messages(HI, ToolCall("x", "f", ""), result("x", ""))[1] == {"role": "assistant", "content": None, "tool_calls": [entry("x")]}


def test_text_between_calls_and_results_joins_the_calls() -> None:
    """Chat takes nothing between calls and results."""
    found = messages(HI, said("a"), ToolCall("x", "f", "{}"), said("b"), result("x", "1"))
    assert found[1:] == [{"role": "assistant", "content": "a\n\nb", "tool_calls": [entry("x")]}, {"role": "tool", "tool_call_id": "x", "content": "1"}]


def test_results_follow_their_calls_wherever_they_stand() -> None:
    found = messages(HI, ToolCall("x", "f", "{}"), HI, result("x", "1"))
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "user"]


def test_calls_in_turns_stay_in_turns() -> None:
    found = messages(HI, ToolCall("x", "f", "{}"), result("x", "1"), ToolCall("y", "f", "{}"), result("y", "2"))
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant", "tool"]


def test_ids_used_again_in_a_later_turn_find_their_own_results() -> None:
    found = messages(HI, ToolCall("x", "f", "{}"), result("x", "1"), ToolCall("x", "f", "{}"), result("x", "2"))
    assert [message.get("content") for message in found] == ["Hi", None, "1", None, "2"]


def test_two_answers_in_a_row_stay_two() -> None:
    assert [message["content"] for message in messages(HI, said("a"), said("b"))] == ["Hi", "a", "b"]


def test_result_without_a_call_is_refused() -> None:
    assert refused(items=(HI, result("x", "1"))) == ("items[1].call_id", "invalid_value")
    assert refused(items=(result("x", "1"), ToolCall("x", "f", "{}"))) == ("items[0].call_id", "invalid_value")


def test_refusal_and_silence() -> None:
    assert messages(Message("assistant", (Refusal("No."),))) == [{"role": "assistant", "content": None, "refusal": "No."}]
    assert messages(Message("assistant", ())) == [{"role": "assistant", "content": ""}]
    assert messages(Message("assistant", (Text("a"), Text("b")))) == [{"role": "assistant", "content": "ab"}]


def test_texts_stay_parts_unless_the_backend_wants_a_string() -> None:
    two = user(Text("a"), Text("b"))
    assert messages(two)[0]["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages(two, quirks=("string_content",))[0]["content"] == "a\n\nb"


PARTS: list[tuple[Part, dict[str, Any]]] = [
    (Image("https://example.org/a.png"), {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}),
    (Image("u", None, "low"), {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}),
    (File("AA==", filename="a.pdf"), {"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}}),
    (File(file_id="file-1"), {"type": "file", "file": {"file_id": "file-1"}}),
    (Audio("AA==", "mp3"), {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}),
    (ForeignPart("chat", {"type": "video_url"}), {"type": "video_url"}),
]


@pytest.mark.parametrize(("part", "wanted"), PARTS)
def test_parts(part: Part, wanted: dict[str, Any]) -> None:
    assert messages(user(Text("a"), part))[0]["content"][1] == wanted


REFUSED_PARTS: list[tuple[Item, str, str]] = [
    (user(Image(file_id="file-1")), "items[0].parts[0].file_id", "unsupported_parameter"),
    (user(File(url="https://example.org/a.pdf")), "items[0].parts[0].url", "unsupported_parameter"),
    (user(ForeignPart("other", {})), "items[0].parts[0]", "unsupported_value"),
    (Message("assistant", (Image("u"),)), "items[0].parts[0]", "unsupported_value"),
]


@pytest.mark.parametrize(("item", "param", "code"), REFUSED_PARTS)
def test_parts_that_must_not_be_dropped(item: Item, param: str, code: str) -> None:
    assert refused(items=(item,)) == (param, code)


def test_original_detail_is_high() -> None:
    found = messages(user(Image("u", None, "original")), losses=("items[0].parts[0].detail",))
    assert found[0]["content"][0]["image_url"]["detail"] == "high"


def test_image_of_a_result_follows_all_results() -> None:
    calls = (ToolCall("x", "f", "{}"), ToolCall("y", "f", "{}"))
    picture = ToolResult("x", (Text("see"), Image("u")))
    found = messages(HI, *calls, picture, result("y", "2"), losses=("items[3].parts[1]",))
    assert found[2:] == [
        {"role": "tool", "tool_call_id": "x", "content": "see"},
        {"role": "tool", "tool_call_id": "y", "content": "2"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
    ]


def test_result_of_an_image_alone_still_says_something() -> None:
    found = messages(ToolCall("x", "f", "{}"), ToolResult("x", (Image("u"),)), losses=("items[1].parts[0]",))
    assert found[1]["content"]


def test_quirk_lets_results_hold_images() -> None:
    found = messages(ToolCall("x", "f", "{}"), ToolResult("x", (Image("u"),)), quirks=("image_results",))
    assert found[1]["content"] == [{"type": "image_url", "image_url": {"url": "u"}}]


def test_failed_result_is_disclosed() -> None:
    messages(ToolCall("x", "f", "{}"), ToolResult("x", (Text("bad"),), is_error=True), losses=("items[1].is_error",))


def test_thoughts_are_dropped_unless_wanted() -> None:
    items = (HI, Reasoning("Hm."), said("a"))
    assert messages(*items, losses=("items[1]",))[1:] == [{"role": "assistant", "content": "a"}]
    for key in ("reasoning_content", "reasoning"):
        assert messages(*items, quirks=(key,))[1:] == [{"role": "assistant", "content": "a", key: "Hm."}]


def test_summary_stands_for_a_thought_without_text() -> None:
    found = messages(Reasoning("", ("a", "b")), said("c"), quirks=("reasoning_content",))
    assert found == [{"role": "assistant", "content": "c", "reasoning_content": "a\n\nb"}]


def test_quirk_sends_an_empty_thought_with_calls() -> None:
    found = messages(said("a"), HI, ToolCall("x", "f", "{}"), result("x", "1"), quirks=("reasoning_content",))
    assert "reasoning_content" not in found[0]
    assert found[2]["reasoning_content"] == ""


def test_thoughts_belong_to_what_follows() -> None:
    items = (Reasoning("1"), said("a"), Reasoning("2"), ToolCall("x", "f", "{}"), Reasoning("3"), ToolCall("y", "f", "{}"), result("x", ""), result("y", ""))
    found = messages(*items, quirks=("reasoning_content",))
    assert [(message["role"], message.get("reasoning_content")) for message in found[:2]] == [("assistant", "1"), ("assistant", "2\n\n3")]
    assert [call["id"] for call in found[1]["tool_calls"]] == ["x", "y"]


def test_seals_go_back_only_to_where_they_came_from() -> None:
    details = [{"type": "reasoning.encrypted", "data": "d"}]
    own = Reasoning("", (), Seal("chat", orjson.dumps(details).decode()))
    assert messages(own, said("a"), quirks=("reasoning_details",)) == [{"role": "assistant", "content": "a", "reasoning_details": details}]
    messages(own, said("a"), losses=("items[0]",))
    messages(Reasoning("", (), Seal("other", "x")), said("a"), quirks=("reasoning_details",), losses=("items[0]",))


def test_items_of_other_dialects_are_dropped() -> None:
    messages(HI, ForeignItem("other", {"type": "web_search_call"}), losses=("items[1]",))
    assert messages(HI, ForeignItem("chat", {"role": "user", "content": "x"}))[1] == {"role": "user", "content": "x"}


def test_short_call_ids() -> None:
    found = messages(ToolCall("call_abcdefghijkl", "f", "{}"), result("call_abcdefghijkl", "1"), quirks=("short_call_ids",))
    short = found[0]["tool_calls"][0]["id"]
    assert len(short) == 9
    assert short.isalnum()
    assert found[1]["tool_call_id"] == short
    kept = messages(ToolCall("abc123XYZ", "f", "{}"), result("abc123XYZ", "1"), quirks=("short_call_ids",))
    assert kept[1]["tool_call_id"] == "abc123XYZ"


# -- tools ----------------------------------------------------------------------------------------------------------------------------------------------------

F = Tool("f", parameters=SCHEMA)
SEARCH = Tool("web_search", "hosted", dialect="other", doc={"type": "web_search"})
GRAMMAR = Tool("p", "custom", format={"type": "grammar", "syntax": "lark", "definition": "start: /x/"})


def test_tools_are_nested() -> None:
    assert body(tools=(F, GRAMMAR, Tool("q", "custom", "Q.")))["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
        {"type": "custom", "custom": {"name": "p", "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}}},
        {"type": "custom", "custom": {"name": "q", "description": "Q."}},
    ]


def test_custom_tools_are_emulated() -> None:
    doc = body("no_custom_tools", tools=(Tool("q", "custom", "Q."),), tool_choice=ToolChoice("required", ("q",), True, "custom"))
    function = doc["tools"][0]["function"]
    assert (doc["tools"][0]["type"], function["name"], function["description"], function["parameters"]["required"]) == ("function", "q", "Q.", ["input"])
    assert doc["tool_choice"] == {"type": "function", "function": {"name": "q"}}
    called = messages(ToolCall("x", "q", 'a "b"', "custom"), ToolResult("x", (Text("1"),), kind="custom"), quirks=("no_custom_tools",))
    assert called[0]["tool_calls"] == [entry("x", "q", '{"input":"a \\"b\\""}')]
    assert refused("no_custom_tools", tools=(F, GRAMMAR)) == ("tools[1].format", "unsupported_value")


def test_namespaces_are_flattened() -> None:
    tool = attrs.evolve(F, namespace="ns")
    doc = body(tools=(tool,), tool_choice=ToolChoice("required", ("f",), True))
    assert doc["tools"][0]["function"]["name"] == "ns__f"
    assert doc["tool_choice"]["function"]["name"] == "ns__f"
    assert messages(ToolCall("x", "f", "{}", namespace="ns"), result("x", ""))[0]["tool_calls"][0]["function"]["name"] == "ns__f"
    _, losses = write(tools=(attrs.evolve(tool, namespace_description="D."), attrs.evolve(tool, name="g", namespace_description="D.")))
    assert losses == ("tools.ns.description",)


@pytest.mark.parametrize("choice", [None, ToolChoice("auto"), ToolChoice("none")])
def test_web_search_is_dropped_where_the_model_may_do_without(choice: ToolChoice | None) -> None:
    doc, losses = write(tools=(F, SEARCH), tool_choice=choice)
    assert [tool["type"] for tool in doc["tools"]] == ["function"]
    assert losses == ("tools[1]",)


HOSTED: list[tuple[dict[str, Any], str]] = [
    ({"tools": (F, SEARCH), "tool_choice": ToolChoice("required")}, "tools[1]"),
    ({"tools": (SEARCH,)}, "tools[0]"),
    ({"tools": (F, attrs.evolve(SEARCH, name="code_interpreter"))}, "tools[1]"),
    ({"tools": (F,), "tool_choice": ToolChoice("required", (), True, "x", "other", {"type": "x"})}, "tool_choice"),
]


@pytest.mark.parametrize(("fields", "param"), HOSTED)
def test_hosted_tools_are_refused(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == (param, "unsupported_value")


def test_hosted_tools_of_this_dialect_are_forwarded() -> None:
    tool = {"type": "web_search", "x": 1}
    choice = ToolChoice("required", (), True, "web_search", "chat", {"type": "web_search"})
    doc = body(tools=(Tool("web_search", "hosted", dialect="chat", doc=tool),), tool_choice=choice)
    assert (doc["tools"], doc["tool_choice"]) == ([tool], {"type": "web_search"})


def test_allowed_tools_are_the_only_ones_sent() -> None:
    doc = body(tools=(F, Tool("g"), Tool("h")), tool_choice=ToolChoice("required", ("g", "h")))
    assert [tool["function"]["name"] for tool in doc["tools"]] == ["g", "h"]
    assert doc["tool_choice"] == "required"


def test_choice_without_tools_is_not_sent() -> None:
    assert body(tool_choice=ToolChoice("auto"), parallel_tools=True) == body()


def test_choice_among_tools() -> None:
    assert body(tools=(F,), tool_choice=ToolChoice("none"), parallel_tools=False) | {"tools": []} == body() | {
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": False,
    }


# -- the rest -------------------------------------------------------------------------------------------------------------------------------------------------


def test_max_tokens_has_two_names() -> None:
    sampling = Sampling(max_tokens=5)
    assert body(sampling=sampling)["max_completion_tokens"] == 5
    assert body("max_tokens", sampling=sampling)["max_tokens"] == 5


def test_top_k_needs_a_quirk() -> None:
    assert refused(sampling=Sampling(top_k=5)) == ("top_k", "unsupported_parameter")
    assert body("top_k", sampling=Sampling(top_k=5))["top_k"] == 5


LOGPROBS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"sampling": Sampling(logprobs=True)}, {"logprobs": True}),
    ({"sampling": Sampling(logprobs=False, top_logprobs=0)}, {"logprobs": False}),
    ({"sampling": Sampling(top_logprobs=3)}, {"logprobs": True, "top_logprobs": 3}),
    ({"include": ("message.output_text.logprobs",)}, {"logprobs": True}),
]


@pytest.mark.parametrize(("fields", "wanted"), LOGPROBS)
def test_logprobs(fields: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert body(**fields) == body() | wanted


def test_output_formats() -> None:
    assert "response_format" not in body(output=OutputFormat("text"))
    assert body(output=OutputFormat("json_object"))["response_format"] == {"type": "json_object"}
    schema = body(output=OutputFormat("json_schema", "o", SCHEMA))["response_format"]
    assert schema == {"type": "json_schema", "json_schema": {"name": "o", "schema": SCHEMA}}


HINTS = {"verbosity": "low", "user": "u", "safety_id": "s", "cache_key": "c", "service_tier": "flex"}
SENT = {"verbosity": "low", "user": "u", "safety_identifier": "s", "prompt_cache_key": "c", "service_tier": "flex"}


def test_hints_are_sent_or_disclosed() -> None:
    assert body(**HINTS) == body() | SENT
    doc, losses = write(BASE, "no_hints", **HINTS)
    assert doc == body()
    assert losses == tuple(SENT)


def test_foreign_fields() -> None:
    doc, losses = write(foreign={"chat": {"min_p": 0.1, "messages[0].name": "Ann", "stream_options.x": 1}, "other": {"client_metadata": {}}})
    assert doc == body() | {"min_p": 0.1}
    assert losses == ("messages[0].name", "stream_options.x", "client_metadata")


LOST: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"summary": "auto"}, ("reasoning.summary",)),
    ({"store": True}, ("store",)),
    ({"store": False}, ()),
    ({"metadata": {"k": "v"}}, ("metadata",)),
    ({"metadata": {}}, ()),
    ({"include": ("reasoning.encrypted_content", "message.output_text.logprobs")}, ("include[0]",)),
]


@pytest.mark.parametrize(("fields", "losses"), LOST)
def test_what_the_gateway_owns_is_disclosed_where_it_was_said(fields: dict[str, Any], losses: tuple[str, ...]) -> None:
    doc, lost = write(**fields)
    assert lost == losses
    assert not set(doc) & {"summary", "store", "metadata", "include"}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"previous": "resp_1"}, "previous_response_id", "unsupported_parameter"),
    ({"sampling": Sampling(n=2)}, "n", "unsupported_value"),
]


@pytest.mark.parametrize(("fields", "param", "code"), REFUSED)
def test_what_must_not_be_dropped_is_refused(fields: dict[str, Any], param: str, code: str) -> None:
    assert refused(**fields) == (param, code)


def test_every_quirk_that_concerns_requests_changes_one() -> None:
    request = attrs.evolve(
        CHAT.read_request(
            {
                "model": "m",
                "messages": [{"role": "developer", "content": [{"type": "text", "text": each} for each in "ab"]}, CALLED],
                "user": "u",
                "stream": True,
            }
        ),
        sampling=Sampling(max_tokens=1),
        tools=(Tool("q", "custom"),),
    )
    seal = Seal("chat", '[{"type":"reasoning.text"}]')
    request = attrs.evolve(request, items=(*request.items, ToolResult("x", (Image("u"),)), Reasoning("t", (), seal)))
    plain = write(request)
    for quirk in sorted(set(CHAT.quirks) - {"top_k", "no_finish_reason"}):
        assert write(request, quirk) != plain, quirk


def test_agent_with_namespaces_and_web_search_is_served() -> None:
    """Codex offers both by habit, beside functions, and leaves the choice to the model."""
    tools = (attrs.evolve(F, strict=False), attrs.evolve(F, namespace="multi_agent"), Tool("g", namespace="multi_agent"), SEARCH)
    doc, losses = write(tools=tools, tool_choice=ToolChoice("auto"), parallel_tools=True, store=False, summary="auto", cache_key="k")
    assert [tool["function"]["name"] for tool in doc["tools"]] == ["f", "multi_agent__f", "multi_agent__g"]
    assert losses == ("tools[2]", "reasoning.summary")
