"""The Agents SDK runs an agent with two tools through the gateway: over both dialects, to backends of both, streamed and not."""

import asyncio  # noqa: TID251  # the Agents SDK runs on nothing else
from typing import Any

import httpx2
import pytest
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, RunConfig, Runner, function_tool
from openai import AsyncOpenAI

MODELS: dict[str, Any] = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "plain"])
def test_an_agent_with_two_tools(url: str, front: str, streamed: bool) -> None:
    called: list[tuple[Any, ...]] = []

    @function_tool
    def get_weather(city: str) -> str:
        """The weather at a place."""
        called.append(("get_weather", city))
        return f"it rains in {city}"

    @function_tool
    def add(a: float, b: float) -> float:
        """Adds two numbers."""
        called.append(("add", a, b))
        return a + b

    async def run() -> str:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0, http_client=httpx2.AsyncClient(trust_env=False)) as client:
            agent = Agent("tester", instructions="Use your tools.", tools=[get_weather, add], model=MODELS[front]("demo", client))
            config = RunConfig(tracing_disabled=True)
            prompt = "What is the weather in Rome, and please add 3 and 4.5"
            if not streamed:
                return str((await Runner.run(agent, prompt, run_config=config)).final_output)
            running = Runner.run_streamed(agent, prompt, run_config=config)
            async for _ in running.stream_events():
                pass
            return str(running.final_output)

    said = asyncio.run(run())
    assert sorted(called) == [("add", 3, 4.5), ("get_weather", "Rome")]
    assert "it rains in Rome" in said
    assert "7.5" in said
