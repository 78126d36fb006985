"""An error answer is classified …"""

from __future__ import annotations

import re

import pytest

from trioproxy.model.fault import Fault, FaultKind
from trioproxy.pool.classify import OUTCOMES, Rule, classify
from trioproxy.pool.outcome import Broken, Missing, Refused, Stalled, Throttled, Unauthorized


def fault(kind=FaultKind.UPSTREAM, code=None, raw=None, after=None, status=None):
    return Fault(kind, "told", code=code, raw=raw, retry_after_s=after, status=status)


@pytest.mark.parametrize("status", [400, 405, 406, 409, 410, 411, 413, 414, 415, 416, 418, 421, 422, 423, 426, 428, 431, 451])
def test_client_errors_are_refused_and_stay_what_they_are(status):
    said = fault(FaultKind.INVALID, "invalid_value", status=status)
    assert classify(status, said) == Refused(said)


@pytest.mark.parametrize("status", [100, 101, 103, 199, 204, 205, 300, 301, 302, 304, 307, 308, 399])
def test_what_is_no_answer_is_broken(status):
    outcome = classify(status, fault(FaultKind.INVALID))
    assert isinstance(outcome, Broken)
    assert outcome.fault.kind is FaultKind.UPSTREAM


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, FaultKind.TIMEOUT),
        (407, FaultKind.UPSTREAM),
        (425, FaultKind.UPSTREAM),
        (499, FaultKind.UPSTREAM),
        (500, FaultKind.UPSTREAM),
        (501, FaultKind.UPSTREAM),
        (502, FaultKind.UPSTREAM),
        (503, FaultKind.OVERLOADED),
        (504, FaultKind.TIMEOUT),
        (520, FaultKind.UPSTREAM),
        (524, FaultKind.TIMEOUT),
        (529, FaultKind.OVERLOADED),
        (599, FaultKind.UPSTREAM),
        (999, FaultKind.UPSTREAM),
    ],
)
def test_server_errors_are_broken(status, kind):
    outcome = classify(status, fault(FaultKind.INTERNAL, status=status, after=4))
    assert isinstance(outcome, Broken)
    assert (outcome.fault.kind, outcome.fault.status, outcome.fault.retry_after_s) == (kind, None, 4)


@pytest.mark.parametrize(
    ("status", "code", "raw", "expected"),
    [
        (401, None, None, ("Unauthorized", True, FaultKind.UNAUTHENTICATED)),
        (401, "model_not_found", None, ("Unauthorized", True, FaultKind.UNAUTHENTICATED)),
        (403, None, None, ("Unauthorized", False, FaultKind.FORBIDDEN)),
        (403, "permission_error", None, ("Unauthorized", False, FaultKind.FORBIDDEN)),
        (403, "invalid_api_key", None, ("Unauthorized", True, FaultKind.UNAUTHENTICATED)),
        (403, "unsupported_country_region_territory", None, ("Unauthorized", True, FaultKind.FORBIDDEN)),
        (400, None, b'{"error":{"details":[{"reason": "API_KEY_INVALID"}]}}', ("Unauthorized", True, FaultKind.UNAUTHENTICATED)),
        (403, "content_policy_violation", None, ("Refused", None, FaultKind.INVALID)),
        (400, "content_policy_violation", None, ("Refused", None, FaultKind.INTERNAL)),
        (403, "Model_Not_Found", None, ("Missing", None, FaultKind.NOT_FOUND)),
        (400, "model_not_found", None, ("Missing", None, FaultKind.NOT_FOUND)),
        (404, "model_not_found", None, ("Missing", None, FaultKind.NOT_FOUND)),
        (404, None, b"<html>nginx</html>", ("Missing", None, FaultKind.NOT_FOUND)),
        (404, "previous_response_not_found", None, ("Refused", None, FaultKind.INTERNAL)),
        (402, None, None, ("Throttled", True, FaultKind.QUOTA)),
        (400, None, b'{"error":{"message":"Your Credit Balance is too low to access"}}', ("Throttled", True, FaultKind.QUOTA)),
        (429, None, None, ("Throttled", False, FaultKind.RATE_LIMITED)),
        (429, "rate_limit_exceeded", None, ("Throttled", False, FaultKind.RATE_LIMITED)),
        (429, "insufficient_quota", None, ("Throttled", True, FaultKind.QUOTA)),
        (429, "billing_hard_limit_reached", None, ("Throttled", True, FaultKind.QUOTA)),
        (403, "billing_not_active", None, ("Throttled", True, FaultKind.QUOTA)),
    ],
)
def test_keys_quotas_and_models(status, code, raw, expected):
    outcome = classify(status, fault(FaultKind.INTERNAL, code, raw))
    assert (type(outcome).__name__, getattr(outcome, "whole", None), outcome.fault.kind) == expected


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (FaultKind.INVALID, Refused),
        (FaultKind.TOO_LARGE, Refused),
        (FaultKind.NOT_FOUND, Missing),
        (FaultKind.UNAUTHENTICATED, Unauthorized),
        (FaultKind.FORBIDDEN, Unauthorized),
        (FaultKind.RATE_LIMITED, Throttled),
        (FaultKind.QUOTA, Throttled),
        (FaultKind.OVERLOADED, Broken),
        (FaultKind.TIMEOUT, Broken),
        (FaultKind.UPSTREAM, Broken),
        (FaultKind.INTERNAL, Broken),
        (FaultKind.CANCELLED, Broken),
    ],
)
def test_an_error_inside_a_success_goes_by_its_kind(kind, made):
    assert type(classify(200, fault(kind))) is made


def test_the_operators_rules_come_first():
    rules = (
        Rule("refused", ((500, 500),), text="Blocked By Policy", kind=FaultKind.INVALID),
        Rule("throttled", ((500, 599),), pattern=re.compile(r"slow\s+down"), kind=FaultKind.RATE_LIMITED, cool_s=7),
        Rule("stalled", codes=frozenset({"queue_full"})),
    )
    assert isinstance(classify(500, fault(raw=b"blocked by policy"), rules), Refused)
    slow = classify(503, fault(raw=b"please slow  down", after=90), rules)
    assert isinstance(slow, Throttled)
    assert (slow.fault.kind, slow.fault.retry_after_s) == (FaultKind.RATE_LIMITED, 7)
    assert isinstance(classify(400, fault(code="queue_full"), rules), Stalled)
    assert isinstance(classify(500, fault(raw=b"other"), rules), Broken)
    assert isinstance(classify(502, fault(), rules), Broken)


def test_rules_name_known_outcomes_only():
    with pytest.raises(ValueError, match="outcome"):
        Rule("retry")
    for name in OUTCOMES:
        assert Rule(name).make(fault()).fault == fault()


def test_every_status_has_an_answer():
    for status in range(1000):
        assert classify(status, fault(FaultKind.INTERNAL)) is not None
