"""Seals of every dialect in the one field this dialect has for them, `encrypted_content`.

A seal of this dialect is sent as it is, so that a client can leave the gateway and take it along. One of another dialect gets an envelope that says whose
it is: `tp0.` and the base64url of `dialect:blob`. The envelope hides and proves nothing; the vendor that made the blob checks it by itself.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from trioproxy.model.items import Seal

DIALECT: Final = "responses"
_MARK: Final = "tp0."


def pack(seal: Seal) -> str:
    """`seal` as `encrypted_content`."""
    if seal.dialect == DIALECT:
        return seal.blob
    return _MARK + base64.urlsafe_b64encode(f"{seal.dialect}:{seal.blob}".encode("utf-8", "surrogatepass")).decode()


def unpack(content: str) -> Seal:
    """The seal in `encrypted_content`; whatever is no envelope of ours is this dialect's own."""
    if content.startswith(_MARK):
        try:
            dialect, colon, blob = base64.b64decode(content[len(_MARK) :], altchars=b"-_", validate=True).decode().partition(":")
        except (ValueError, binascii.Error):
            return Seal(DIALECT, content)
        if colon and dialect:
            return Seal(dialect, blob)
    return Seal(DIALECT, content)
