"""L2: one folder per API language. A dialect never names another one; this table is where they stand side by side."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from trioproxy.dialects.base import Dialect
from trioproxy.dialects.chat import CHAT
from trioproxy.dialects.responses import RESPONSES

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({dialect.name: dialect for dialect in (CHAT, RESPONSES)})
