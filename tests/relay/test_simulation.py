"""Whole houses made of chance, judged by an oracle: an answer is whole and exact, or it ends in words; nothing is left behind.

Each seed is one world: backends of both dialects that answer, fail and fall silent in every way there is, a few credentials with limits, and clients of which
some leave early. The clock jumps, so hours cost nothing. A failure names its seed; `simulate(seed)` plays that world again, the same every time.
"""

import contextlib
import json
import random

import attrs
import pytest
import trio
import trio.testing

from tests.relay.worlds import Fickle, Planned
from trioproxy.config.schema import CredentialConfig, ModelConfig, RuleConfig
from trioproxy.model.limits import Keepalive, Limits, Retry
from trioproxy.pool.credential import Secret
from trioproxy.pool.outcome import Abandoned
from trioproxy.pool.pool import Pool
from trioproxy.testing.memory import Answer, memory_gateway
from trioproxy.testing.order import check_chat_stream, check_responses_stream

WORLDS, BLOCKS = 600, 10
LIMITS = Limits(head_s=20, answer_s=40, first_substance_s=40, stall_s=15, total_s=120, queue_s=30, queued=3)
TOLD = frozenset({400, 404, 429, 502, 503, 504})
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}


@attrs.define(eq=False)
class Asked:
    """One client's request, and what became of it."""

    number: int
    dialect: str
    stream: bool
    answer: Answer | None = None
    seconds: float = 0.0


class World:
    def __init__(self, seed):
        self.dice = dice = random.Random(seed)
        self.plans: list[Planned] = []
        self.asked: list[Asked] = []
        health = dice.choice([0.3, 0.6, 0.9])
        self.backends = [Fickle(f"b{n}", dice.choice(list(PATHS)), dice, self.plans, health) for n in range(dice.randint(1, 2))]
        self.secrets = [dice.choice(["sk-sim-{}-abcdefghijklmnop", "correct horse {} battery"]).format(n) for n in range(dice.randint(1, 4))]
        self.keys = [CredentialConfig(f"k{n}", Secret(text), max_in_flight=dice.choice([None, 1, 2])) for n, text in enumerate(self.secrets)]
        self.models = [ModelConfig("m", tuple((one.name, "m") for one in self.backends))]
        self.retry = Retry(attempts=dice.choice([1, 2, 5]), rounds=dice.randint(0, 2), before_head_s=90, switch_project=dice.random() < 0.9)
        self.keepalive = Keepalive(*dice.choice([(10, 15), (0, 0), (1, 1)]))
        self.rules = [RuleConfig("throttled", status=529)] if dice.random() < 0.2 else []

    async def play(self):
        options = {"keys": self.keys, "limits": LIMITS, "retry": self.retry, "keepalive": self.keepalive, "models": self.models, "rules": self.rules}
        async with memory_gateway(*self.backends, **options) as self.house:
            gateway, dice = self.house.gateway, self.dice
            gateway._dice.seed(dice.random())
            await trio.testing.wait_all_tasks_blocked()
            living = trio.lowlevel.current_statistics().tasks_living
            async with trio.open_nursery() as nursery:
                for number in range(dice.randint(1, 5)):
                    nursery.start_soon(self.client, number)
                    await trio.sleep(dice.choice([0, 0.01, dice.uniform(0, 20)]))
                    if dice.random() < 0.1:
                        gateway.replan(gateway.config)
            await trio.sleep(2)  # polite closes
            await trio.testing.wait_all_tasks_blocked()
            self.check_house(living)
        for asked in self.asked:
            self.check(asked)

    async def client(self, number):
        dice = self.dice
        asked = Asked(number, dice.choice(list(PATHS)), dice.random() < 0.7)
        self.asked.append(asked)
        text = f"caller-{number}."
        doc = {"model": "m", "stream": asked.stream} | ({"messages": [{"role": "user", "content": text}]} if asked.dialect == "chat" else {"input": text})
        patience = dice.uniform(0, 40) if dice.random() < 0.25 else 1000
        started = trio.current_time()
        visit = await self.house.send(PATHS[asked.dialect], doc)
        with trio.move_on_after(patience):
            asked.answer = await visit.rest()
        asked.seconds = trio.current_time() - started
        await visit.hang_up()

    # The oracle.

    def check_house(self, living):
        gateway, house = self.house.gateway, self.house.gateway.house
        assert house.pool.leases == 0
        assert len(house.metronome) == len(house.turnstile) == 0
        assert (gateway.front.active, gateway.front.held) == (0, 0)
        assert trio.lowlevel.current_statistics().tasks_living == living
        for backend in self.backends:
            assert not backend.leaks
        assert len(self.house.records) == len(self.asked)

    def check(self, asked):
        mine = [plan for plan in self.plans if plan.caller == asked.number]
        # A stale connection's second chance and a refreshed key are no attempts of their own.
        assert len(mine) <= 2 * self.retry.attempts
        assert asked.seconds <= LIMITS.total_s + 2
        answer = asked.answer
        if answer is None:
            return
        assert answer.whole
        for secret in self.secrets:
            assert secret.encode() not in answer.body
            assert not any(secret in value for value in answer.headers.values())
        if answer.status != 200:
            self.check_told(answer)
        elif asked.stream:
            self.check_stream(asked, answer, mine)
        else:
            text, arguments = said_plainly(asked.dialect, answer.doc)
            self.check_whole(text, arguments, mine)

    def check_told(self, answer):
        assert answer.status in TOLD
        assert answer.headers["content-type"] == "application/json"
        assert answer.doc["error"]["message"]
        if answer.status in (429, 503) and self.retry.switch_project:  # else a backend's answer is forwarded, with what it had
            assert int(answer.headers["retry-after"]) >= 1

    def check_stream(self, asked, answer, mine):
        kind, text, arguments = said_streaming(asked.dialect, answer)
        if kind == "whole":
            self.check_whole(text, arguments, mine)
        else:
            assert kind == "failed"
            plan = mine[-1] if mine else None
            assert not text or (plan is not None and plan.text.startswith(text))
            assert not arguments or (plan is not None and plan.arguments.startswith(arguments))
        last = mine[-1].kind if mine else ""
        if last not in ("garbage", "told twice"):  # where these pass, they pass as they are
            check = check_chat_stream if asked.dialect == "chat" else check_responses_stream
            complaints = check(answer.body)
            # Of what passes unread nothing is claimed when it is cut, and behind a passed terminal event nothing is owed.
            unread = ("[DONE]", "are open", "the terminal output") if asked.dialect == "responses" else ()
            complaints = [one for one in complaints if not any(word in one for word in unread)]
            assert not complaints, complaints

    @staticmethod
    def check_whole(text, arguments, mine):
        plan = mine[-1]  # no attempt begins once one has spoken
        assert plan.whole
        assert (text, arguments) == (plan.text, plan.arguments)


def said_streaming(dialect, answer):
    """How a stream ended, and all text and arguments in its deltas. Frames that are no JSON are a passed backend's own."""
    docs, text, arguments, kind = [], [], [], "cut"
    for frame in answer.body.split(b"\n\n"):
        data = next((line[6:] for line in frame.split(b"\n") if line.startswith(b"data: ")), None)
        if data == b"[DONE]":
            kind = "whole" if dialect == "chat" else kind
        elif data is not None:
            with contextlib.suppress(ValueError):
                docs.append(json.loads(data))
    for doc in docs:
        if not isinstance(doc, dict):
            continue
        if doc.get("error") and dialect == "chat":
            assert kind != "whole", "an error frame and [DONE]"
            kind = "failed"
        for choice in doc.get("choices", ()):
            text.append(choice["delta"].get("content") or "")
            arguments += [call["function"].get("arguments", "") for call in choice["delta"].get("tool_calls") or ()]
        match doc.get("type"):
            case "response.output_text.delta":
                text.append(doc["delta"])
            case "response.function_call_arguments.delta":
                arguments.append(doc["delta"])
            case "response.completed":
                kind = "whole"
            case "response.failed":
                kind = "failed"
    return kind, "".join(text), "".join(arguments)


def said_plainly(dialect, doc):
    if dialect == "chat":
        assert doc["choices"][0]["finish_reason"] in ("stop", "tool_calls")
        message = doc["choices"][0]["message"]
        return message.get("content") or "", "".join(call["function"]["arguments"] for call in message.get("tool_calls") or ())
    assert doc["status"] == "completed"
    text = "".join(part["text"] for item in doc["output"] if item["type"] == "message" for part in item["content"])
    return text, "".join(item["arguments"] for item in doc["output"] if item["type"] == "function_call")


def simulate(seed):
    """Play one world; an error carries the seed."""
    run = trio._core._run
    before = run._ALLOW_DETERMINISTIC_SCHEDULING
    run._ALLOW_DETERMINISTIC_SCHEDULING = True  # in what order the tasks of one tick run comes of the seed, too
    run._r.seed(seed)
    try:
        trio.run(World(seed).play, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before


@pytest.fixture
def unblamed(monkeypatch):
    """Whoever leaves takes nobody's health along."""
    settle = Pool._settle

    def checked(self, lease, outcome, ruling, now):
        before = health(self, lease, now)
        settle(self, lease, outcome, ruling, now)
        if isinstance(outcome, Abandoned):
            assert health(self, lease, now) == before

    monkeypatch.setattr(Pool, "_settle", checked)


def health(pool, lease, now):
    mine = lease.credential
    return [(one.cooling_s, one.models, one.failed) for one in pool.states(now) if (one.backend, one.credential) == (mine.backend, mine.name)]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_worlds_of_chance(unblamed, block):
    for seed in range(block, WORLDS, BLOCKS):
        simulate(seed)
