"""Requests, read into the canonical form, and sent on to a backend of the same dialect."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.responses.asking import CALL, RESULT, again, items, read, refused, write
from trioproxy.model.items import Audio, File, ForeignItem, ForeignPart, Image, Message, Reasoning, Refusal, Seal, Text, ToolCall, ToolResult
from trioproxy.model.request import OutputFormat, Request, Sampling, Tool, ToolChoice


def test_a_string_is_a_user_message() -> None:
    assert read().items == (Message("user", (Text("x"),)),)


def test_an_item_without_a_type_is_a_message_when_it_has_a_role() -> None:
    assert items({"role": "developer", "content": "Be brief."}) == (Message("developer", (Text("Be brief."),)),)


def test_an_item_without_a_type_is_a_reference_when_it_has_only_an_id() -> None:
    assert refused(input=[{"id": "msg_1"}]) == ("input[0].id", None)
    assert refused(input=[{"type": "item_reference", "id": "msg_1"}]) == ("input[0].id", None)


@pytest.mark.parametrize("content", ["Hi", [{"type": "output_text", "text": "Hi"}], [{"type": "output_text", "text": "Hi", "annotations": []}]])
def test_what_the_assistant_said_may_be_bare(content: Any) -> None:
    assert items({"role": "assistant", "content": content}) == (Message("assistant", (Text("Hi"),)),)


def test_an_assistant_message_in_full() -> None:
    citation = {"type": "file_path", "file_id": "f", "index": 0}
    content = [{"type": "output_text", "text": "Hi", "annotations": [citation]}, {"type": "refusal", "refusal": "No."}]
    doc = {"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete", "content": content}
    assert items(doc) == (Message("assistant", (Text("Hi", (citation,)), Refusal("No.")), "msg_1", False),)


def test_the_parts_of_a_user_message() -> None:
    parts = [
        {"type": "input_text", "text": "t"},
        {"type": "input_image", "image_url": "https://example.org/i.png", "detail": "low"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://example.org/a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "something_new", "x": 1},
    ]
    (message,) = items({"role": "user", "content": parts})
    assert message.parts == (
        Text("t"),
        Image("https://example.org/i.png", None, "low"),
        Image(None, "file_1"),
        File("data:application/pdf;base64,AA==", filename="a.pdf"),
        File(url="https://example.org/a.pdf"),
        Audio("AA==", "wav"),
        ForeignPart("responses", parts[-1]),
    )
    sent, losses = again(input=[{"role": "user", "content": parts}])
    assert losses == ()
    expected = [dict(part) for part in parts]
    expected[2]["detail"] = "auto"
    assert sent["input"][0]["content"] == expected


def test_calls_and_results_of_both_kinds() -> None:
    custom = {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "***", "id": "ctc_1", "status": "completed"}
    output = [{"type": "input_text", "text": "ok"}, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]
    found = items(CALL | {"namespace": "sums"}, RESULT, custom, {"type": "custom_tool_call_output", "call_id": "c2", "output": output})
    assert found == (
        ToolCall("c1", "add", "{}", "function", "sums"),
        ToolResult("c1", (Text("3"),)),
        ToolCall("c2", "patch", "***", "custom", None, "ctc_1"),
        ToolResult("c2", (Text("ok"), Image("data:image/png;base64,AA==")), kind="custom"),
    )


def test_a_result_that_failed() -> None:
    assert items(CALL, RESULT | {"status": "incomplete"})[1].is_error


def test_a_result_must_match_an_earlier_call() -> None:
    assert refused(input=[RESULT]) == ("input[0].call_id", None)
    assert refused(input=[RESULT, CALL]) == ("input[0].call_id", None)


def test_a_call_must_have_a_result() -> None:
    assert refused(input=[CALL]) == ("input", None)


def test_a_result_may_name_its_tool_instead_of_its_call() -> None:
    by_name = {"type": "function_call_output", "call_id": None, "name": "add", "output": "3"}
    assert items(CALL, by_name)[1] == ToolResult("c1", (Text("3"),))
    assert refused(input=[CALL, by_name | {"name": "sub"}]) == ("input[1].name", None)
    assert refused(input=[CALL, {"type": "function_call_output", "output": "3"}]) == ("input[1].call_id", "missing_required_parameter")


def test_reasoning_with_all_it_may_have() -> None:
    doc = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
        "content": [{"type": "reasoning_text", "text": "raw"}],
        "encrypted_content": "gAAA",
    }
    assert items(doc) == (Reasoning("raw", ("a", "b"), Seal("responses", "gAAA"), "rs_1"),)
    assert again(input=[doc])[0]["input"] == [doc]


@pytest.mark.parametrize("kind", ["web_search_call", "local_shell_call", "compaction", "mcp_call", "configuration_update", "something_new"])
def test_items_of_this_api_alone_are_kept_as_they_came(kind: str) -> None:
    doc = {"type": kind, "id": "x_1", "anything": {"at": "all"}}
    assert items({"role": "user", "content": "x"}, doc)[1] == ForeignItem("responses", doc)
    assert again(input=[{"role": "user", "content": "x"}, doc])[0]["input"][1] == doc


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": "robot", "content": "x"}, "input[0].role"),
        ({"type": "function_call", "name": "add", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "", "name": "add", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "c", "name": "add"}, "input[0].arguments"),
        ({"type": "function_call", "call_id": "c", "name": "add", "arguments": {}}, "input[0].arguments"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0].image_url"),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input[0].content[0].file_data"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}, "input[0].content[0].input_audio.format"),
        ({"type": "reasoning", "summary": [{"type": "summary_text"}]}, "input[0].summary[0].text"),
        ({"type": "reasoning", "summary": "x"}, "input[0].summary"),
    ],
)
def test_a_malformed_item_is_refused_with_its_path(item: dict[str, Any], param: str) -> None:
    assert refused(input=[item])[0] == param


# Reading: tools and the rest


def test_tools_of_every_kind() -> None:
    function = {"type": "function", "name": "add", "description": "Add.", "parameters": {"type": "object"}, "strict": True}
    custom = {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}
    search = {"type": "web_search", "external_web_access": True}
    tools = [function, custom, {"type": "namespace", "name": "sums", "description": "Sums.", "tools": [function, custom]}, search]
    plain = Tool("add", "function", "Add.", {"type": "object"}, True)
    assert read(tools=tools).tools == (
        plain,
        Tool("patch", "custom", format=custom["format"]),
        Tool("add", "function", "Add.", {"type": "object"}, True, None, "sums", "Sums."),
        Tool("patch", "custom", format=custom["format"], namespace="sums", namespace_description="Sums."),
        Tool("web_search", "hosted", dialect="responses", doc=search),
    )
    assert again(tools=tools)[0]["tools"] == tools


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "function", "name": "a b"}, "tools[0].name"),
        ({"type": "function", "name": "x" * 129}, "tools[0].name"),
        ({"type": "function", "name": "a", "parameters": []}, "tools[0].parameters"),
        ({"type": "function", "name": "a", "strict": "yes"}, "tools[0].strict"),
        ({"type": "custom", "name": "a", "format": "x"}, "tools[0].format"),
        ({"type": "namespace", "name": "n"}, "tools[0].tools"),
        ({"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}, "tools[0].tools[0].type"),
    ],
)
def test_a_malformed_tool_is_refused_with_its_path(tool: dict[str, Any], param: str) -> None:
    assert refused(tools=[tool])[0] == param


def test_two_tools_of_one_name_are_refused() -> None:
    tool = {"type": "function", "name": "a"}
    assert refused(tools=[tool, tool]) == ("tools", "invalid_value")
    assert len(read(tools=[tool, {"type": "namespace", "name": "n", "tools": [tool]}]).tools) == 2


ADD = {"type": "function", "name": "add"}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("none", ToolChoice("none")),
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "add"}, ToolChoice("required", ("add",), True)),
        ({"type": "custom", "name": "patch"}, ToolChoice("required", ("patch",), True, "custom")),
        ({"type": "allowed_tools", "mode": "required", "tools": [ADD]}, ToolChoice("required", ("add",))),
        ({"type": "allowed_tools", "mode": "auto", "tools": [ADD, {"type": "custom", "name": "patch"}]}, ToolChoice("auto", ("add", "patch"))),
    ],
)
def test_every_choice_of_tools(said: Any, meant: ToolChoice) -> None:
    tools = [ADD, {"type": "custom", "name": "patch"}]
    assert read(tools=tools, tool_choice=said).tool_choice == meant
    assert again(tools=tools, tool_choice=said)[0]["tool_choice"] == said


def test_allowed_tools_without_a_mode() -> None:
    choice = read(tools=[ADD], tool_choice={"type": "allowed_tools", "tools": [ADD]}).tool_choice
    assert choice == ToolChoice("auto", ("add",))


@pytest.mark.parametrize(
    "said", [{"type": "web_search_preview"}, {"type": "mcp", "server_label": "s"}, {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}]
)
def test_a_choice_of_a_hosted_tool_is_kept(said: dict[str, Any]) -> None:
    choice = read(tool_choice=said).tool_choice
    assert choice is not None
    assert (choice.dialect, choice.doc) == ("responses", said)
    assert again(tool_choice=said)[0]["tool_choice"] == said


def test_a_choice_that_cannot_be() -> None:
    assert refused(tool_choice="sometimes") == ("tool_choice", "invalid_value")
    assert refused(tools=[ADD], tool_choice={"type": "function", "name": "sub"}) == ("tool_choice", "invalid_value")
    assert refused(tools=[ADD], tool_choice={"type": "allowed_tools", "tools": []}) == ("tool_choice.tools", "invalid_value")


def test_the_output_format() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}
    assert read(text={"format": schema, "verbosity": "low"}).output == OutputFormat("json_schema", "n", {"type": "object"}, True, "d")
    assert read(text={"format": {"type": "json_object"}}).output == OutputFormat("json_object")
    assert again(text={"format": schema, "verbosity": "low"})[0]["text"] == {"format": schema, "verbosity": "low"}
    assert refused(text={"format": {"type": "xml"}}) == ("text.format.type", "invalid_value")
    assert refused(text={"format": {"type": "json_schema", "name": "n"}}) == ("text.format.schema", "missing_required_parameter")
    assert refused(text={"format": {"type": "json_schema", "name": "n n", "schema": {}}}) == ("text.format.name", "invalid_value")


def test_scalars() -> None:
    fields = {
        "instructions": "i",
        "max_output_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "top_logprobs": 3,
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "store": True,
        "metadata": {"k": "v"},
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "p",
        "service_tier": "flex",
        "stream": True,
    }
    request = read(**fields)
    assert request.sampling == Sampling(9, 0.5, 0.9, presence_penalty=0.1, frequency_penalty=0.2, logprobs=True, top_logprobs=3)
    assert (request.effort, request.summary, request.store, request.stream) == ("low", "auto", True, True)
    assert (request.user, request.safety_id, request.cache_key, request.service_tier) == ("u", "s", "p", "flex")
    sent, losses = again(**fields)
    assert losses == ()
    assert {key: sent[key] for key in fields} == fields


def test_nothing_unsaid_is_invented_for_the_same_dialect() -> None:
    sent, _ = again()
    assert sent == {"model": "up", "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}]}


def test_what_has_no_field_is_kept_at_its_place() -> None:
    fields: dict[str, Any] = {
        "client_metadata": {"a": 1},
        "truncation": "auto",
        "context_management": [{"type": "compaction", "compact_threshold": 1000}],
        "reasoning": {"mode": "pro"},
        "text": {"something": 1},
        "tools": [{"type": "function", "name": "add", "parameters": {"type": "object"}, "defer_loading": True}],
        "input": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}], "phase": "commentary"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
        ],
    }
    assert set(read(**fields).foreign["responses"]) == {
        "client_metadata",
        "truncation",
        "context_management",
        "reasoning.mode",
        "text.something",
        "tools[0].defer_loading",
        "input[0].phase",
        "input[1].content[0].prompt_cache_breakpoint",
    }
    sent, losses = again(**fields)
    assert losses == ()
    assert {key: sent[key] for key in fields} == fields


def test_what_goes_without_saying_is_no_loss() -> None:
    assert read(truncation="disabled", background=False, stream_options={"include_obfuscation": False}, prompt=None).foreign == {"responses": {}}


def test_a_place_that_is_gone_is_a_loss() -> None:
    request = Request.of("m", "x")
    gone = Request(model="m", items=request.items, foreign={"responses": {"input[7].phase": "x", "tools[0].async": True}})
    assert write(gone)[1] == ("input[7].phase", "tools[0].async")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"background": True}, "background", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"moderation": {"model": "m"}}, "moderation", "unsupported_parameter"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "previous_response_not_found"),
    ],
)
def test_what_only_the_gateway_could_do_is_refused(fields: dict[str, Any], param: str, code: str) -> None:
    assert refused(**fields) == (param, code)
