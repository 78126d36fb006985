"""A gateway inside somebody else's program: any number of them, nothing global, and nothing left when the context is."""

import gc
import json
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager

import attrs
import h11
import pytest
import trio
import trio.testing

import trioproxy
from tests.relay.scripts import ASK, ASK_STREAM, CHAT, DONE, RESPOND, RESPOND_STREAM, ROLE, STOP, chunk, error, said, stream, text_of
from trioproxy import ArgumentsDelta, Failed, Finished, FinishReason, ItemOpened, Request, TextDelta, Tool, open_gateway
from trioproxy.config.load import loads
from trioproxy.config.schema import BackendConfig, Config, ServerConfig
from trioproxy.errors import ConfigError
from trioproxy.model.fault import FaultKind
from trioproxy.testing.memory import MemoryGateway, Visit
from trioproxy.testing.scripted import Script, ScriptedBackend, Sleep

PATHS = ["/v1/chat/completions", "/v1/responses"]
SIMULATED = """
[server]
listen = ["127.0.0.1:0"]
[[backend]]
name = "sim"
origin = "sim:"
[[model]]
name = "{model}"
serve = ["sim/mock-n3-d0"]
"""


def backend(*scripts, name="b", **more):
    return ScriptedBackend(name, CHAT, scripts, **more)


def config_for(*names, default=None, **more):
    rows = tuple(BackendConfig(name, f"http://{name}.invalid/v1", "chat", models=("listed",)) for name in names)
    return Config(server=ServerConfig(listen=("127.0.0.1:0",), default_backend=default or names[0]), backends=rows, **more)


@asynccontextmanager
async def embedded(*backends, **more):
    """A gateway with these backends, and a client to it over memory streams."""
    config = config_for(*[one.name for one in backends], **more)
    async with open_gateway(config, backends={one.name: one for one in backends}) as gateway, trio.open_nursery() as nursery:
        yield gateway, MemoryGateway(gateway, nursery)
        nursery.cancel_scope.cancel()


async def over(stream_, path, doc=None):
    """One request over a stream of the caller's."""
    machine = h11.Connection(h11.CLIENT)
    body = json.dumps(doc).encode() if doc is not None else b""
    head = h11.Request(method="POST" if body else "GET", target=path, headers=[("host", "x"), ("content-length", str(len(body)))])
    await stream_.send_all(b"".join(machine.send(event) or b"" for event in (head, h11.Data(data=body), h11.EndOfMessage())))
    return await Visit(stream_, machine).rest()


async def dial(url):
    host, _, port = url.removeprefix("http://").rpartition(":")
    return await trio.open_tcp_stream(host, int(port))


# Two at once.


async def test_two_gateways_over_memory_streams_know_nothing_of_each_other(autojump_clock):
    one, two = backend(Script.of(ROLE, *said("one"), Sleep(5), STOP, DONE), *[error(500)] * 2), backend(stream("two"), stream("still two"), name="c")
    async with embedded(one) as (first, in_one), embedded(two) as (second, in_two):
        answers = {}

        async def ask(name, client):
            answers[name] = await client.post(PATHS[0], ASK_STREAM)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "one", in_one)
            await trio.sleep(1)
            assert (first.front.active, second.front.active) == (1, 0)
            nursery.start_soon(ask, "two", in_two)
        assert {name: text_of(answer) for name, answer in answers.items()} == {"one": "one", "two": "two"}
        assert (await in_one.post(PATHS[0], ASK)).status == 502
        assert [len(one.calls), len(two.calls)] == [3, 1]
        assert b"broken" in first.render_metrics()
        assert b"broken" not in second.render_metrics()
        await first.stop(0)
        assert first.unready()
        assert (await in_two.get("/readyz")).status == 200
        assert text_of(await in_two.post(PATHS[0], ASK_STREAM)) == "still two"


async def test_two_gateways_on_loopback_with_models_of_their_own(nursery):
    configs = [loads(SIMULATED.format(model=name)) for name in ("red", "blue")]
    async with open_gateway(configs[0]) as first, open_gateway(configs[1]) as second:
        urls = [(await nursery.start(gateway.serve))[0] for gateway in (first, second)]
        assert urls[0] != urls[1]
        for url, model, other in ((urls[0], "red", "blue"), (urls[1], "blue", "red")):
            async with await dial(url) as client:
                assert (await over(client, PATHS[1], {**RESPOND, "model": model})).doc["output"]
            async with await dial(url) as client:
                assert (await over(client, PATHS[1], {**RESPOND, "model": other})).status == 404
        nursery.cancel_scope.cancel()


async def test_one_behind_the_other_in_one_process(nursery):
    """The second one's backend is the first one's socket."""
    async with open_gateway(loads(SIMULATED.format(model="red"))) as inner:
        (url,) = await nursery.start(inner.serve)
        rows = (BackendConfig("inner", url + "/v1", "responses", models=("red",)),)
        async with open_gateway(Config(server=ServerConfig(listen=("127.0.0.1:0",)), backends=rows)) as outer:
            (door,) = await nursery.start(outer.serve)
            async with await dial(door) as client:
                answer = await over(client, PATHS[0], {**ASK_STREAM, "model": "red"})
            assert text_of(answer)
            assert answer.events[-1] == "[DONE]"
            nursery.cancel_scope.cancel()


# Doors.


async def test_a_path_to_a_file_will_do(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(SIMULATED.format(model="red"))
    for given in (path, str(path)):
        async with trioproxy.open_gateway(given) as gateway:
            assert gateway.config.path == path
            async with gateway.ask(Request.of("red", "hi")) as batches:
                events = [event async for batch in batches for event in batch]
            assert isinstance(events[-1], Finished)
    path.write_text('[[backend]]\nname = "b"\norigin = 7\ncolour = "red"\n')
    with pytest.raises(ConfigError) as caught:
        async with trioproxy.open_gateway(path):
            pass
    assert len(caught.value.problems) >= 2


async def test_serve_tells_its_urls_and_answers_on_them(nursery):
    config = attrs.evolve(loads(SIMULATED.format(model="red")), server=ServerConfig(listen=("127.0.0.1:0", "127.0.0.1:0")))
    async with open_gateway(config) as gateway:
        urls = await nursery.start(gateway.serve)
        assert len(set(urls)) == 2
        for url in urls:
            async with await dial(url) as client:
                assert (await over(client, "/healthz")).doc == {"status": "ok"}
        taken = ServerConfig(listen=(urls[0].removeprefix("http://"),))
        async with open_gateway(attrs.evolve(config, server=taken)) as other:
            with pytest.raises(OSError, match=urls[0].rpartition(":")[2]):
                await other.serve()
        nursery.cancel_scope.cancel()


async def test_serving_can_be_cancelled_and_begun_again(nursery):
    async with open_gateway(loads(SIMULATED.format(model="red"))) as gateway:
        for _ in range(2):
            async with trio.open_nursery() as serving:
                (url,) = await serving.start(gateway.serve)
                async with await dial(url) as client:
                    assert (await over(client, "/healthz")).status == 200
                serving.cancel_scope.cancel()


async def test_any_stream_can_be_served(nursery):
    mine = backend(stream("a"), stream("b"))
    async with embedded(mine) as (gateway, _):
        for make in (trio.testing.memory_stream_pair, trio.testing.lockstep_stream_pair, sockets):
            ours, theirs = make()
            mine.add(stream("c"))
            async with trio.open_nursery() as serving:
                serving.start_soon(gateway.serve_stream, theirs)
                assert text_of(await over(ours, PATHS[0], ASK_STREAM))
                await ours.aclose()  # the end of the stream is the end of serving


def sockets():
    one, two = trio.socket.socketpair()
    return trio.SocketStream(one), trio.SocketStream(two)


# Asking.


async def test_asking_with_tools(autojump_clock):
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
    mine = backend(Script.of(ROLE, chunk({"tool_calls": [call]}), chunk(finish="tool_calls"), DONE))
    async with embedded(mine) as (gateway, _):
        request = attrs.evolve(Request.of("m", "Look up."), tools=(Tool("look", parameters={"type": "object"}),))
        async with gateway.ask(request) as batches:
            events = [event async for batch in batches for event in batch]
    assert next(event.name for event in events if isinstance(event, ItemOpened)) == "look"
    assert "".join(event.text for event in events if isinstance(event, ArgumentsDelta)) == '{"at": "sky"}'
    assert events[-1] == Finished(FinishReason.TOOL_CALLS)
    assert json.loads(mine.calls[0].body)["tools"][0]["function"]["name"] == "look"


@pytest.mark.parametrize(
    ("scripts", "kind", "said_before"),
    [
        ([error(400, "bad thing")], FaultKind.INVALID, ""),
        ([error(500)] * 5, FaultKind.UPSTREAM, ""),
        ([error(429, retry_after="40")], FaultKind.RATE_LIMITED, ""),
        ([Script.of(ROLE, *said("one"))], FaultKind.UPSTREAM, "one"),
    ],
)
async def test_a_failure_is_an_event(autojump_clock, scripts, kind, said_before):
    async with embedded(backend(*scripts)) as (gateway, _):
        async with gateway.ask(Request.of("m", "hi")) as batches:
            events = [event async for batch in batches for event in batch]
        assert isinstance(events[-1], Failed)
        assert events[-1].fault.kind is kind
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == said_before
        assert sum(isinstance(event, Failed | Finished) for event in events) == 1


async def test_a_model_that_nobody_has_is_an_event_too(autojump_clock):
    async with open_gateway(loads(SIMULATED.format(model="red"))) as gateway, gateway.ask(Request.of("green", "hi")) as batches:
        events = [event async for batch in batches for event in batch]
    assert [type(event) for event in events] == [Failed]
    assert events[0].fault.code == "model_not_found"


@pytest.mark.parametrize("script", [Script((), before=(Sleep(),)), Script.of(ROLE, Sleep()), Script.of(ROLE, *said("one"), Sleep())])
async def test_leaving_early_cancels_the_backend_and_blames_nobody(autojump_clock, script):
    mine = backend(script)
    async with embedded(mine) as (gateway, _):
        living = trio.lowlevel.current_statistics().tasks_living
        async with gateway.ask(Request.of("m", "hi")):
            await trio.sleep(1)
        assert mine.calls[0].dropped
        assert trio.lowlevel.current_statistics().tasks_living == living
        pool = gateway.house.pool
        assert pool.leases == 0
        assert not any(one.failed or one.cooling_s or one.models for one in pool.states(trio.current_time()))


async def test_a_program_that_is_cancelled_while_it_asks_leaves_nothing(autojump_clock):
    mine = backend(Script.of(ROLE, *said("one"), Sleep()))
    async with embedded(mine) as (gateway, _):
        with trio.move_on_after(5) as scope:
            async with gateway.ask(Request.of("m", "hi")) as batches:
                async for _batch in batches:
                    pass
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(5)
        assert mine.calls[0].dropped
        assert gateway.house.pool.leases == 0


# Changing and stopping.


async def test_a_new_plan_takes_over_while_exchanges_run(autojump_clock):
    old, new = backend(Script.of(ROLE, *said("old"), Sleep(10), *said(" plan"), STOP, DONE), name="old"), backend(stream("new"), name="new")
    async with embedded(old, new) as (gateway, client):
        answers = []

        async def ask():
            answers.append(text_of(await client.post(PATHS[1], RESPOND_STREAM)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            gateway.replan(config_for("new"))
            nursery.start_soon(ask)
        assert answers == ["new", "old plan"]
        assert gateway.house.pool.leases == 0
        assert set(gateway.house.backends) == {"new"}


async def test_a_plan_that_cannot_be_is_refused_and_the_old_one_stays(autojump_clock):
    mine = backend(stream("a"), stream("b"))
    async with embedded(mine) as (gateway, client):
        before, config = gateway.house, gateway.config
        twice = attrs.evolve(config, backends=(attrs.evolve(config.backends[0], credentials=config.backends[0].credentials * 2),))
        with pytest.raises((ConfigError, ValueError)):
            gateway.replan(twice)
        assert gateway.house is before
        assert gateway.config is config
        assert text_of(await client.post(PATHS[0], ASK_STREAM)) == "a"


async def test_what_was_found_out_about_backends_outlives_a_plan_that_cannot_be(nursery):
    async with open_gateway(loads(SIMULATED.format(model="red"))) as inner:
        (url,) = await nursery.start(inner.serve)
        async with open_gateway(Config(backends=(BackendConfig("inner", url + "/v1", "responses", models=("red",)),))) as outer:
            assert outer.unready() == []
            other = BackendConfig("other", "http://127.0.0.1:9/v1", "chat")
            with pytest.raises((ConfigError, ValueError)):
                outer.replan(Config(backends=(attrs.evolve(other, credentials=other.credentials * 2),)))
            assert outer.unready() == []
            async with outer.ask(Request.of("red", "hi")) as batches:
                events = [event async for batch in batches for event in batch]
            assert isinstance(events[-1], Finished)
            nursery.cancel_scope.cancel()


async def test_a_stopped_gateway_is_idle_and_its_doors_are_shut(nursery):
    async with open_gateway(loads(SIMULATED.format(model="red"))) as gateway:
        async with trio.open_nursery() as serving:
            (url,) = await serving.start(gateway.serve)
            idle = await dial(url)
            assert (await over(idle, "/healthz")).status == 200
            await gateway.stop(5)  # `serve` returns by itself, so this nursery ends
            with trio.fail_after(10):
                assert await idle.receive_some() == b""
        await idle.aclose()
        with pytest.raises(OSError, match="connect"):
            await dial(url)
        assert (gateway.front.active, len(gateway.house.metronome), gateway.house.pool.leases) == (0, 0, 0)
        await gateway.stop(5)  # a second time is nothing


# What an embedding program would notice.


def state_of_the_process():
    """Signal handlers, everything about loggers, and every container that a module of the package holds."""
    loggers = [logging.root, *(logger for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger))]
    return {
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "loggers": {logger.name: (logger.level, tuple(logger.handlers), tuple(logger.filters), logger.propagate, logger.disabled) for logger in loggers},
        "logging": (logging.raiseExceptions, logging.getLoggerClass(), logging.getLogRecordFactory(), logging.root.manager.disable),
        "containers": {
            (name, key): len(value)
            for name, module in list(sys.modules.items())
            if name.split(".")[0] == "trioproxy"
            for key, value in vars(module).items()
            if isinstance(value, dict | list | set) and not key.startswith("__")
        },
        "except hooks": (sys.excepthook, sys.unraisablehook),
    }


def descriptors():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


async def busy():
    """A gateway that does everything once: sockets, memory streams, asking, replan, stop."""
    async with open_gateway(loads(SIMULATED.format(model="red"))) as gateway, trio.open_nursery() as nursery:
        (url,) = await nursery.start(gateway.serve)
        rows = (BackendConfig("inner", url + "/v1", "responses", models=("red",)), BackendConfig("nobody", "http://127.0.0.1:9/v1", "chat", models=("blue",)))
        async with open_gateway(Config(server=ServerConfig(listen=("127.0.0.1:0",)), backends=rows)) as outer:
            (door,) = await nursery.start(outer.serve)
            kept = await dial(door)  # left open: the gateway has to close its end
            assert text_of(await over(kept, PATHS[0], {**ASK_STREAM, "model": "red"}))
            async with await dial(door) as client:
                assert (await over(client, PATHS[1], {**RESPOND, "model": "blue"})).status == 502
            async with await dial(door) as client:
                await client.send_all(b"GET /healthz HTTP/1.1\r\n")  # never ends
                outer.replan(outer.config)
                async with outer.ask(Request.of("red", "hi")) as batches:
                    async for _ in batches:
                        break
                with trio.move_on_after(0.2):
                    await outer.stop(0)
        nursery.cancel_scope.cancel()
    await kept.aclose()


async def test_nothing_of_the_process_is_touched():
    await busy()  # what is loaded on first use is loaded now
    before = state_of_the_process()
    await busy()
    assert state_of_the_process() == before


async def test_leaving_closes_everything():
    """A socket that was forgotten would be told by Python as a warning, which is an error here."""
    await busy()
    gc.collect()
    before, living = descriptors(), trio.lowlevel.current_statistics().tasks_living
    await busy()
    gc.collect()
    assert descriptors() == before
    assert trio.lowlevel.current_statistics().tasks_living == living


async def test_an_error_of_the_program_leaves_through_the_context():
    with pytest.RaisesGroup(ZeroDivisionError, allow_unwrapped=True, flatten_subgroups=True):
        async with open_gateway(loads(SIMULATED.format(model="red"))):
            raise ZeroDivisionError
