"""The simulated model says what its name and the request ask for, grammatically and reproducibly."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioproxy.errors import FaultError
from trioproxy.harness.simulate import Ending, Script, script
from trioproxy.harness.steering import OPTIONS, steer
from trioproxy.model.events import ItemOpened, TextDelta, ThoughtDelta
from trioproxy.model.fault import FaultKind
from trioproxy.model.fold import Response, fold
from trioproxy.model.grammar import complaints
from trioproxy.model.items import Image, Message, Reasoning, Refusal, Seal, Text, ToolCall, ToolResult
from trioproxy.model.request import OutputFormat, Request, Sampling, Tool, ToolChoice
from trioproxy.model.usage import FinishReason

WEATHER = Tool(
    "get_weather",
    description="The weather at a place",
    parameters={"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}}, "required": ["city"]},
)
ADD = Tool(
    "add",
    description="Adds two numbers",
    parameters={"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]},
)
SHELL = Tool("shell", kind="custom", description="Runs a command", namespace="machine")


def ask(model: str, text: str = "How do tides work?", **fields: Any) -> Request:
    return attrs.evolve(Request.of(model, text), **fields)


def told(request: Request, dialect: str = "") -> Response:
    played = script(request, 0, dialect)
    assert not complaints(played.events)
    return fold(played.events)


def text(response: Response) -> str:
    return "".join(part.text for item in response.items if isinstance(item, Message) for part in item.parts if isinstance(part, Text))


def calls(response: Response) -> list[ToolCall]:
    return [item for item in response.items if isinstance(item, ToolCall)]


def gaps(played: Script, kind: type = TextDelta) -> list[float]:
    return [beat.delay_s for beat in played.beats if isinstance(beat.events[0], kind)]


# --- names ---------------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["gpt-5", "mock-", "mock-y1", "mock-n", "mock-u3", "mock-e200", "mock-e600", "mock-n-5", "mock-n1000000", "mocks", "demo n3", ""]
)
def test_a_name_that_is_no_model_is_refused(model: str) -> None:
    with pytest.raises(FaultError) as caught:
        steer(model)
    assert (caught.value.fault.kind, caught.value.fault.code, caught.value.fault.param) == (FaultKind.NOT_FOUND, "model_not_found", "model")


def test_every_option_is_read() -> None:
    letters = "".join(f"-{letter}{500 if letter == 'e' else 3 if most else ''}" for letter, (most, _) in OPTIONS.items())
    steering = steer("mock" + letters)
    unsaid = steer("mock")
    assert [name for name, value in attrs.asdict(steering).items() if value == getattr(unsaid, name)] == ["base"]


def test_the_last_word_of_an_option_counts() -> None:
    assert steer("mock-n1-n2").deltas == 2


# --- mock ----------------------------------------------------------------------------------------------------------------------------------------------------


def test_mock_says_as_much_as_it_is_told_at_the_pace_it_is_told() -> None:
    played = script(ask("mock-n5-d20-t500"), 0)
    assert gaps(played) == [0.5, 0.02, 0.02, 0.02, 0.02]
    assert len(gaps(script(ask("mock"), 0))) == 20


def test_mock_thinks_first() -> None:
    played = script(ask("mock-r3-n2-t100-d5"), 0)
    assert (gaps(played, ThoughtDelta), gaps(played)) == ([0.1, 0.005, 0.005], [0.005, 0.005])
    assert isinstance(told(ask("mock-r3")).items[0], Reasoning)


def test_mock_calls_tools_in_parallel_until_it_has_results() -> None:
    request = ask("mock-k3", tools=(WEATHER, ADD))
    made = calls(told(request))
    assert [call.name for call in made] == ["get_weather", "add", "get_weather"]
    assert len({call.id for call in made}) == 3
    assert told(request).finish is FinishReason.TOOL_CALLS
    assert not calls(told(ask("mock-k3")))
    answered = attrs.evolve(request, items=(*request.items, *made, *(ToolResult(call.id, (Text("1"),)) for call in made)))
    assert not calls(told(answered))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, FaultKind.RATE_LIMITED), (503, FaultKind.OVERLOADED), (500, FaultKind.INTERNAL), (418, FaultKind.INVALID), (404, FaultKind.NOT_FOUND)],
)
def test_mock_answers_with_a_status(status: int, kind: FaultKind) -> None:
    played = script(ask(f"mock-e{status}"), 0)
    assert played.refused is not None
    assert (played.refused.kind, played.refused.http_status, played.beats) == (kind, status, ())
    assert (played.refused.retry_after_s is not None) == (status in (429, 503))


@pytest.mark.parametrize(("model", "ending"), [("mock-n9-x5", Ending.CUT), ("mock-n9-s5", Ending.STALL)])
def test_mock_stops_in_the_middle(model: str, ending: Ending) -> None:
    played = script(ask(model), 0)
    assert (played.ending, len(gaps(played))) == (ending, 5)
    assert complaints(played.events) == ["no end"]


@pytest.mark.parametrize(
    ("model", "finish", "metered", "items"),
    [
        ("mock-n2", FinishReason.STOP, True, 1),
        ("mock-n2-u", FinishReason.STOP, False, 1),
        ("mock-z", FinishReason.STOP, True, 0),
        ("mock-n2-l", FinishReason.LENGTH, True, 1),
        ("mock-n2-f", FinishReason.CONTENT_FILTER, True, 1),
    ],
)
def test_mock_ends_as_it_is_told(model: str, finish: FinishReason, metered: bool, items: int) -> None:
    response = told(ask(model))
    assert (response.finish, response.usage is not None, len(response.items)) == (finish, metered, items)


def test_mock_refuses_in_words() -> None:
    item = told(ask("mock-q")).items[0]
    assert isinstance(item, Message)
    assert isinstance(item.parts[0], Refusal)


def test_mock_fails_in_band() -> None:
    played = script(ask("mock-g"), 0)
    assert played.in_band
    assert fold(played.events).fault is not None


# --- demo ----------------------------------------------------------------------------------------------------------------------------------------------------


def test_demo_speaks_of_what_was_asked_at_a_human_pace() -> None:
    played = script(ask("demo"), 0)
    assert "tides" in text(fold(played.events)).lower()
    first, *rest = gaps(played)
    assert first == 0.25
    assert all(1 / 120 <= gap <= 1 / 40 for gap in rest)
    assert 20 < len(rest) < 120


def test_the_same_question_gets_the_same_answer_and_another_seed_another() -> None:
    assert script(ask("demo"), 0) == script(ask("demo"), 0)
    assert script(ask("demo"), 0) != script(ask("demo"), 1)


@pytest.mark.parametrize("prompt", ["", "Hello!", "?", "…", "42", "\ud83d".encode("utf-16", "surrogatepass").decode("utf-16", "replace")])
def test_demo_has_an_answer_to_anything(prompt: str) -> None:
    assert text(told(ask("demo", prompt)))
    assert text(told(attrs.evolve(Request.of("demo", ""), items=())))


def test_demo_calls_the_tool_that_fits() -> None:
    made = calls(told(ask("demo", "What is the weather in Rome?", tools=(WEATHER, ADD))))
    assert [call.name for call in made] == ["get_weather"]
    assert json.loads(made[0].arguments)["city"] == "Rome"


def test_demo_calls_two_tools_that_fit_at_once_unless_told_otherwise() -> None:
    prompt = "What is the weather in Rome, and please add 3 and 4.5"
    made = calls(told(ask("demo", prompt, tools=(WEATHER, ADD))))
    assert [call.name for call in made] == ["get_weather", "add"]
    assert json.loads(made[1].arguments) == {"a": 3, "b": 4.5}
    assert len(calls(told(ask("demo", prompt, tools=(WEATHER, ADD), parallel_tools=False)))) == 1


def test_demo_calls_one_tool_for_each_name() -> None:
    made = calls(told(ask("demo", "Is the weather nicer in Paris or in New York?", tools=(WEATHER,))))
    assert [json.loads(call.arguments)["city"] for call in made] == ["Paris", "New York"]


def test_demo_leaves_tools_alone_that_do_not_fit() -> None:
    assert not calls(told(ask("demo", "How do tides work?", tools=(WEATHER, ADD))))


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (ToolChoice("none"), []),
        (ToolChoice("required"), ["get_weather"]),
        (ToolChoice("required", ("add",), forced=True), ["add"]),
        (ToolChoice("auto", ("add",)), []),
        (ToolChoice("required", ("add",)), ["add"]),
    ],
)
def test_a_choice_is_obeyed(choice: ToolChoice, names: list[str]) -> None:
    for model in ("demo", "mock"):
        made = calls(told(ask(model, "How do tides work?", tools=(WEATHER, ADD), tool_choice=choice)))
        assert [call.name for call in made] == names


def test_a_custom_tool_gets_free_text_and_a_hosted_one_is_never_called() -> None:
    hosted = Tool("web_search", kind="hosted", description="Runs a search command", dialect="responses")
    made = calls(told(ask("demo", "Run the command ls", tools=(hosted, SHELL))))
    assert [(call.name, call.kind, call.namespace, call.arguments) for call in made] == [("shell", "custom", "machine", "Run the command ls")]


def test_demo_reports_what_the_tools_said() -> None:
    items = (
        Message("user", (Text("Weather in Rome?"),)),
        ToolCall("c1", "get_weather", '{"city": "Rome"}'),
        ToolCall("c2", "add", "{}"),
        ToolResult("c2", (Text("out of order"),), is_error=True),
        ToolResult("c1", (Text("sunny,\n 21 °C"),)),
    )
    said = text(told(ask("demo", tools=(WEATHER, ADD), items=items, tool_choice=ToolChoice("required"))))
    assert "get_weather says: sunny, 21 °C" in said
    assert "add failed with: out of order" in said


def test_demo_admires_pictures() -> None:
    parts = (Text("What is this?"), Image("data:image/png;base64,AAAA"), Image("https://example.org/a.jpg"), Image(file_id="f1"))
    said = text(told(ask("demo", items=(Message("user", parts),))))
    assert "3 images (image/png, 3 bytes; at https://example.org/a.jpg; one of your files)" in said


def test_demo_thinks_when_asked_to() -> None:
    assert not any(isinstance(item, Reasoning) for item in told(ask("demo", effort="none")).items)
    raw = told(ask("demo", effort="low"))
    assert isinstance(raw.items[0], Reasoning)
    assert raw.items[0].text
    assert raw.usage is not None
    assert 0 < raw.usage.reasoning < raw.usage.output
    summed = told(ask("demo", effort="low", summary="auto"))
    assert isinstance(summed.items[0], Reasoning)
    assert len(summed.items[0].summary) > 1
    assert not summed.items[0].text


def test_a_seal_is_given_when_asked_for_and_only_our_own_is_taken_back() -> None:
    asked = ask("demo", effort="low", include=("reasoning.encrypted_content",))
    assert attrs.evolve(told(asked).items[0], seal=None) == told(asked, "").items[0]  # type: ignore[type-var]
    thought = told(asked, "responses").items[0]
    assert isinstance(thought, Reasoning)
    assert thought.seal is not None
    assert script(attrs.evolve(asked, items=(thought, *asked.items)), 0, "responses").refused is None
    for blob in (thought.seal.blob[:-4], "AAAA", "not base64"):
        forged = attrs.evolve(thought, seal=Seal("responses", blob))
        refused = script(attrs.evolve(asked, items=(forged, *asked.items)), 0, "responses").refused
        assert refused is not None
        assert refused.code == "invalid_encrypted_content"


def test_demo_fills_in_a_schema() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"]}
    said = text(told(ask("demo", 'A person called "Bob", aged 42', output=OutputFormat("json_schema", "person", schema))))
    assert json.loads(said) == {"name": "Bob", "age": 42}
    assert "answer" in json.loads(text(told(ask("demo", output=OutputFormat("json_object")))))


def test_demo_keeps_to_a_limit() -> None:
    response = told(ask("demo", sampling=Sampling(max_tokens=7)))
    assert response.finish is FinishReason.LENGTH
    assert isinstance(response.items[0], Message)
    assert not response.items[0].complete
    assert sum(isinstance(event, TextDelta) for event in script(ask("demo", sampling=Sampling(max_tokens=7)), 0).events) == 7


def test_demo_stops_where_it_is_told() -> None:
    whole = text(told(ask("demo")))
    assert text(told(ask("demo", sampling=Sampling(stop=(" What I do",))))) == whole.partition(" What I do")[0]


MODELS = st.builds(
    lambda base, options: "-".join([base, *options]),
    st.sampled_from(["demo", "mock"]),
    st.lists(st.sampled_from(["n0", "n3", "r0", "r2", "k1", "k2", "g", "u", "z", "l", "f", "q", "x0", "x2", "s2", "e429", "t5", "d0"]), max_size=5),
)


@settings(max_examples=150, deadline=None)
@given(
    model=MODELS,
    prompt=st.text(max_size=60),
    tools=st.sampled_from([(), (WEATHER,), (WEATHER, ADD, SHELL)]),
    choice=st.sampled_from([None, ToolChoice("auto"), ToolChoice("required"), ToolChoice("none")]),
    effort=st.sampled_from([None, "none", "high"]),
    summary=st.sampled_from([None, "auto"]),
    limit=st.sampled_from([None, 0, 1, 5]),
)
def test_whatever_is_asked_the_grammar_holds(
    model: str, prompt: str, tools: tuple[Tool, ...], choice: ToolChoice | None, effort: str | None, summary: str | None, limit: int | None
) -> None:
    played = script(ask(model, prompt, tools=tools, tool_choice=choice, effort=effort, summary=summary, sampling=Sampling(max_tokens=limit)), 0, "chat")
    if played.refused is None:
        assert not complaints(played.events, whole=played.ending is Ending.WHOLE)
        assert all(beat.delay_s >= 0 for beat in played.beats)
        assert len({event.id for event in played.events if isinstance(event, ItemOpened) and event.id}) == len(calls(fold(played.events)))
