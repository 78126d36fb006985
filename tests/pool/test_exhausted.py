"""When nobody can answer, the client is told …"""

from __future__ import annotations

import pytest

from trioproxy.model.fault import Fault, FaultKind
from trioproxy.pool.exhausted import Reason, State, exhausted

COOLING = Reason("openai", "a", State.COOLING, 11.2, FaultKind.RATE_LIMITED)
BUSY = Reason("openai", "b", State.BUSY)


def cooling(cause: FaultKind) -> Reason:
    return Reason("up", "a", State.COOLING, 5, cause)


@pytest.mark.parametrize(
    ("kind", "status", "code", "hinted"),
    [
        (FaultKind.RATE_LIMITED, 429, "rate_limit_exceeded", True),
        (FaultKind.QUOTA, 429, "insufficient_quota", True),
        (FaultKind.UNAUTHENTICATED, 502, "upstream_auth_error", False),
        (FaultKind.FORBIDDEN, 502, "upstream_auth_error", False),
        (FaultKind.NOT_FOUND, 404, "model_not_found", False),
        (FaultKind.OVERLOADED, 503, "overloaded", True),
        (FaultKind.TIMEOUT, 504, "upstream_timeout", False),
        (FaultKind.UPSTREAM, 502, "upstream_error", False),
        (FaultKind.INTERNAL, 502, "upstream_error", False),
    ],
)
def test_by_the_last_fault(kind, status, code, hinted):
    told = exhausted(Fault(kind, "the upstream's words", status=599, code="theirs", raw=b"body"), 9, [COOLING, BUSY], model="x")
    assert (told.http_status, told.code, told.retry_after_s, told.raw) == (status, code, 9 if hinted else None, b"body")
    # What a backend says about a key of ours is nobody's business; the rest helps whoever reads it.
    assert ("upstream's words" in told.message) == (kind not in (FaultKind.UNAUTHENTICATED, FaultKind.FORBIDDEN))


@pytest.mark.parametrize("kind", [FaultKind.INVALID, FaultKind.TOO_LARGE, FaultKind.CANCELLED])
def test_of_its_own_mistake_as_it_is(kind):
    fault = Fault(kind, "bad", param="input")
    assert exhausted(fault, 9, [COOLING]) is fault


@pytest.mark.parametrize(
    ("reasons", "status", "code"),
    [
        ([COOLING], 429, "rate_limit_exceeded"),
        ([cooling(FaultKind.QUOTA), COOLING], 429, "rate_limit_exceeded"),
        ([COOLING, BUSY], 429, "rate_limit_exceeded"),
        ([BUSY], 429, "rate_limit_exceeded"),
        ([Reason("up", "a", State.PROBING)], 429, "rate_limit_exceeded"),
        ([cooling(FaultKind.NOT_FOUND)], 404, "model_not_found"),
        ([cooling(FaultKind.UNAUTHENTICATED), cooling(FaultKind.FORBIDDEN)], 502, "upstream_auth_error"),
        ([cooling(FaultKind.UPSTREAM)], 503, "no_credential_available"),
        ([cooling(FaultKind.UPSTREAM), COOLING], 503, "no_credential_available"),
        ([Reason("up", "", State.NONE)], 503, "no_credential_available"),
        ([], 503, "no_credential_available"),
    ],
)
def test_without_an_attempt_by_what_the_credentials_rest_for(reasons, status, code):
    told = exhausted(None, 5, reasons)
    assert (told.http_status, told.code) == (status, code)
    assert told.retry_after_s == (5 if status in (429, 503) else None)


@pytest.mark.parametrize(("known", "said", "told"), [(None, None, 1), (None, 30, 30), (12, 30, 12), (0, None, 1), (0.2, 30, 1)])
def test_a_retry_after_whatever_is_known(known, said, told):
    assert exhausted(Fault(FaultKind.RATE_LIMITED, "", retry_after_s=said), known).retry_after_s == told


def test_a_queue_that_was_full_is_429_whoever_else_rests():
    assert exhausted(None, None, [], busy=True).http_status == 429
    assert exhausted(None, None, [cooling(FaultKind.UPSTREAM)], busy=True).http_status == 429
    assert exhausted(Fault(FaultKind.TIMEOUT, ""), None, [], busy=True).http_status == 504


def test_what_was_tried_in_words():
    told = exhausted(None, 11.2, [COOLING, BUSY, Reason("groq", "", State.NONE), Reason("up", "c", State.TRIED)], model="x")
    assert (
        told.message
        == "no backend can answer for the model 'x' now: openai/a cooling 12 s (rate limit), openai/b busy, groq has no credential for it, up/c tried"
    )
    assert exhausted(None, 1, [Reason("local", "none", State.COOLING, 1, FaultKind.UPSTREAM)]).message.endswith(": local cooling 1 s (upstream error)")
    last = exhausted(Fault(FaultKind.TIMEOUT, ""), None, model="x")
    assert last.message == "no backend can answer for the model 'x' now; the last attempt ended with: timeout"
    assert exhausted(None, None).message == "no backend can answer now"


def test_of_a_model_that_nobody_has_in_words_about_the_model():
    missing = Reason("up", "a", State.COOLING, 29.5, FaultKind.NOT_FOUND)
    now = exhausted(Fault(FaultKind.NOT_FOUND, "no model x here"), None, [missing], model="x")
    assert (now.message, now.param) == ("the model 'x' does not exist: up said so (no model x here)", "model")
    later = exhausted(None, None, [missing, Reason("up", "b", State.COOLING, 8, FaultKind.NOT_FOUND)], model="x")
    assert later.message == "the model 'x' does not exist: up said so, and will be asked again in 30 s"
    mixed = exhausted(Fault(FaultKind.NOT_FOUND, ""), None, [missing, COOLING, Reason("down", "c", State.TRIED)], model="x")
    assert mixed.message == "the model 'x' does not exist: up said so; not asked: openai/a cooling 12 s (rate limit)"
    assert exhausted(Fault(FaultKind.NOT_FOUND, ""), None).message == "the model does not exist"


@pytest.mark.parametrize("kind", FaultKind)
def test_every_cause_has_a_word(kind):
    assert str(cooling(kind)).startswith("up/a cooling 5 s (")
