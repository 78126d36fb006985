"""A gateway without a file."""

import pytest

from trioproxy.config.flags import default_config, override
from trioproxy.config.load import loads
from trioproxy.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRIOPROXY_BACKEND_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_at_all_is_the_simulated_backend() -> None:
    config = default_config()
    assert (config.server.listen, config.default_backend) == (("127.0.0.1:8080",), "sim")
    assert [(backend.name, backend.simulated) for backend in config.backends] == [("sim", True)]
    assert [(model.name, model.serve) for model in config.models] == [("demo", (("sim", "demo"),))]


def test_backends_are_numbered_and_the_first_takes_what_nobody_lists() -> None:
    config = default_config(["127.0.0.1:0"], ["https://a.example", "chat=http://localhost:1", "responses=https://c.example/api/v3", "sim:"])
    assert [(backend.name, backend.dialect, backend.origin) for backend in config.backends] == [
        ("b1", "auto", "https://a.example/v1"),
        ("b2", "chat", "http://localhost:1/v1"),
        ("b3", "responses", "https://c.example/api/v3"),
        ("b4", "auto", "sim:"),
    ]
    assert config.default_backend == "b1"
    assert all(backend.scheme == "none" for backend in config.backends)


def test_a_key_goes_where_its_name_says_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["https://api.openai.com", "https://api.openai.com.example", "http://localhost:1", "sim:"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    assert [str(backend.credentials[0].source) for backend in default_config([], flags).backends] == ["env:OPENAI_API_KEY", "None", "None", "None"]
    monkeypatch.setenv("TRIOPROXY_BACKEND_KEY", "sk-ours")
    sources = [str(backend.credentials[0].source) for backend in default_config([], flags).backends]
    assert sources == ["env:TRIOPROXY_BACKEND_KEY"] * 3 + ["None"]


def test_all_wrong_flags_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        default_config(["8080"], ["localhost:8000", "messages=https://a.example", "chat=ftp://a"])
    assert [problem.path for problem in caught.value.problems] == ["--backend", "--backend", "--backend", "--listen"]
    assert caught.value.problems[0].hint == 'write "https://localhost:8000"'


def test_nobody_listens_to_everybody_by_accident() -> None:
    with pytest.raises(ConfigError, match="nobody is asked for a key"):
        default_config(["0.0.0.0:80"])
    assert default_config(["0.0.0.0:80"], allow_anonymous=True).warnings


def test_flags_win_over_a_file() -> None:
    config = loads('[server]\nlisten = ["127.0.0.1:1"]\naccess_log = "json"\n[[backend]]\nname = "a"\norigin = "sim:"\n')
    assert override(config) == config
    changed = override(config, listen=["127.0.0.1:2", "[::1]:2"], access_log="human")
    assert (changed.server.listen, changed.server.access_log) == (("127.0.0.1:2", "[::1]:2"), "human")
    with pytest.raises(ConfigError):
        override(config, listen=["0.0.0.0:2"])
