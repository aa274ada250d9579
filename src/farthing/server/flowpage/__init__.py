"""The page to try a served flow: one HTML file, sent as it is.

Knows: the flow's swagger document and /score, through the addresses beside its own.
Does not know: anything of a particular flow; the same bytes serve all.
Door: `PAGE`, and `POLICY`, under which a browser runs nothing but what stands in it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

PAGE = (Path(__file__).parent / "page.html").read_bytes()


def _hashes(tag: bytes) -> bytes:
    found = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), PAGE, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(each).digest()) for each in found)
    return b" ".join(b"'sha256-%b'" % digest for digest in digests)


POLICY = (
    b"default-src 'none'; connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; "
    b"frame-ancestors 'none'; script-src %b; style-src %b" % (_hashes(b"script"), _hashes(b"style"))
)
