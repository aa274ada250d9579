"""Ids in few bytes: our calls' and the providers' requests', as the ledger stores them."""

from __future__ import annotations

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
#: To the digits that `int(…, 32)` reads, which is quicker than a loop over them; `!` for what is none, since
#: `int` would take capitals, signs, spaces and underscores too.
_DIGITS = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[_CROCKFORD.index(chr(code))]
    if chr(code) in _CROCKFORD
    else ord("!")
    for code in range(256)
)


def pack_id(call_id: str) -> bytes:
    """A call's id in 16 bytes; ids of another form as they are."""
    if len(call_id) != 31 or not call_id.startswith("call_"):
        return _other(call_id)
    try:
        return int(call_id[5:].encode("ascii").translate(_DIGITS), 32).to_bytes(16, "big")
    except (ValueError, OverflowError):
        return _other(call_id)


def _other(call_id: str) -> bytes:
    packed = call_id.encode()
    return packed + b"\0" if len(packed) == 16 else packed


def unpack_id(packed: bytes) -> str:
    """The id that `pack_id` packed."""
    if len(packed) != 16:
        return packed.decode().removesuffix("\0")
    number = int.from_bytes(packed, "big")
    return "call_" + "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -5, -5))


_UUID, _REQ_HEX = b"\x00", b"\x01"


def pack_request(request_id: str) -> bytes:
    """A provider's request id; the two commonest forms (a UUID, `req_` and 32 hex digits) in 17 bytes."""
    if len(request_id) == 36:
        try:
            if request_id.startswith("req_"):
                packed = bytes.fromhex(request_id[4:])
                if packed.hex() == request_id[4:]:
                    return _REQ_HEX + packed
            else:
                packed = _UUID + bytes.fromhex(request_id.replace("-", ""))
                if len(packed) == 17 and unpack_request(packed) == request_id:
                    return packed
        except ValueError:
            pass  # another form, kept as it is
    return request_id.encode()


def unpack_request(packed: bytes | None) -> str | None:
    """The id that `pack_request` packed."""
    if packed is None:
        return None
    packed = bytes(packed)
    if len(packed) != 17 or packed[:1] not in (_UUID, _REQ_HEX):
        return packed.decode()
    digits = packed[1:].hex()
    if packed[:1] == _REQ_HEX:
        return "req_" + digits
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
