"""What the journal says: money held, more of it held, charged, given back."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from farthing.accounts.ledger import Entry

# The tags and the order of the fields are what files of earlier versions have: new fields go to the end,
# with a default.


class Reserved(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Money is held for a call. call: its id, packed. at: unix milliseconds.

    windows: as a hold's row keeps them, so that no one need unpack them on the way. budgets: the version
    of the budgets that were asked.
    """

    call: bytes
    nanodollars: int
    at: int
    key_id: str
    model: str
    team: str | None
    tags: tuple[str, ...]
    windows: bytes
    budgets: int


class Extended(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """More is held for it."""

    call: bytes
    nanodollars: int


class Settled(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """It was charged. unconfirmed: nanodollars that stay held until `expires_at`, unix seconds."""

    call: bytes
    entries: tuple[Entry, ...]
    unconfirmed: int
    expires_at: int


class Released(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Nothing of it was used."""

    call: bytes


Record = Reserved | Extended | Settled | Released

encode = msgspec.msgpack.Encoder().encode
#: A record from its bytes. Raises msgspec.MsgspecError for one of a newer version.
decode: Callable[[bytes], Record] = msgspec.msgpack.Decoder(Record).decode
