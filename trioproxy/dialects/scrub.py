"""Upstream error text, made fit for a client's eyes.

Backends quote keys, organisations and projects in their errors. Rule: whatever looks like one of those is masked, rather once too often;
control characters become spaces; the text is cut at a limit.
"""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"

_SECRETS: Final = re.compile(
    r"""
      (?P<lead> \bbearer\s+ | \bbasic\s+ | \b(?:x-)?(?:goog-)?api[-_\ ]?key["']?\s*[=:]\s*["']? | [?&](?:key|token|access_token)=
        | \bauthorization["']?\s*[=:]\s*["']? | \b(?:password|passwd|secret|token)(?:["']?\s*=\s*["']? | ["']\s*:\s*["']) | :// (?=[^/\s@]+@)
        | \bprojects?[/:]\s* | \bproject[_\ ](?:number|id):?\s* | \borganization[/:]\s* ) (?P<value> [^\s"',;&<>)@]+ )
    | \b(?:sk|pk|rk|ak|key|gsk|xai|hf|ghp|gho|ghs|glpat|nvapi|pplx|tgp|fw|r8|api|sess|eyJ)[-_][\w*.-]{8,}
    | \beyJ[\w-]{8,}(?:\.[\w-]*)*
    | \b(?:AIza|ya29\.|AKIA|ASIA|AQ\.)[\w-]{8,}
    | \b(?:org|proj|user|acct|ws|wrkspc)[-_](?:(?=[A-Za-z]*\d)[A-Za-z0-9]{6,}|[A-Za-z0-9]{16,})
    | (?<![\w-])(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[A-Za-z0-9_-]{32,}
    | \b[0-9a-f]{32,}\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MOST: Final = 8192  # characters looked at; what lies beyond would be cut off anyway


def scrub(text: str, limit: int = 500) -> str:
    """`text` without what looks like a key, a bearer token, an organisation or a project, of at most `limit` characters.

    The cut comes after the masking, so that no half of a secret can slip through as something shorter.
    """
    text = _CONTROLS.sub(" ", text[:_MOST]).strip()
    text = _SECRETS.sub(_mask, text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _mask(match: re.Match[str]) -> str:
    return (match["lead"] or "") + MASK
