"""The world as the flows see it in the proof: pages, files and Azure's language service, all made up.

What is given depends on nothing but what was asked, so that both sides see the same. Needs the standard library
alone: the original's environment loads this file as well.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

#: A PNG of one pixel.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
#: What a reseller of models has.
_LISTS = {
    "https://api.unify.ai/v0/models": ["llama-3.1-8b-chat"],
    "https://api.unify.ai/v0/providers": ["together-ai"],
    "https://api.unify.ai/v0/endpoints": ["llama-3.1-8b-chat@together-ai"],
}
_PAGE = """<html><head><title>Page {key}</title></head><body>
<h1>About {key}</h1><p>The subject {key} was described in 1987. It has 3 parts and they are well known.</p>
<p>Its second paragraph tells more about {key}. The end of it is near.</p><ul><li>one {key} item here</li></ul>
</body></html>"""
_CODE = 'def add(left, right):\n    return left + right\n\n\ndef name():\n    return "{key}"\n'


def page(address: str) -> tuple[str, bytes]:
    """The content type and the content of what stands at an address of the web."""
    key = sha256(address.encode()).hexdigest()[:8]
    path = address.partition("?")[0].lower()
    if path in _LISTS:
        return "application/json", json.dumps(_LISTS[path]).encode()
    if path.endswith(".pdf"):
        return "application/pdf", _pdf(f"The paper {key} presents a method with two steps.")
    if path.endswith((".png", ".jpg", ".jpeg", ".gif")):
        return "image/png", base64.b64decode(PICTURE)
    if path.endswith(".py"):
        return "text/plain; charset=utf-8", _CODE.format(key=key).encode()
    return "text/html; charset=utf-8", _PAGE.format(key=key).encode()


def language(path: str, body: Any) -> Any:
    """What Azure's language and translation services answer to a body posted to `path`."""
    key = sha256(json.dumps([path, body], sort_keys=True).encode()).hexdigest()[:8]
    if path.startswith("/translate"):
        told = {"text": f"translated {key}", "to": "en"}
        return [{"detectedLanguage": {"language": "es", "score": 1.0}, "translations": [told]}]
    if "/jobs" not in path and "conversations" in path:
        prediction = {"topIntent": f"intent-{key}", "projectKind": "Conversation", "intents": []}
        return {"kind": "ConversationResult", "result": {"prediction": prediction}}
    results = _results(key, body)
    if "/jobs" not in path:
        return {"kind": "Results", "results": results}
    return {"status": "succeeded", "tasks": {"items": [{"results": results}]}}


def _results(key: str, body: Any) -> dict[str, Any]:
    """One answer with the fields of every task; whoever asked reads its own."""
    told = {
        "id": "1",
        "detectedLanguage": {"name": "English", "iso6391Name": "en", "confidenceScore": 1.0},
        "redactedText": f"redacted {key}",
        "keyPhrases": [f"phrase {key}"],
        "entities": [{"text": key, "category": "Person"}],
        "sentiment": "neutral",
        "summaries": [{"aspect": "recap", "text": f"summary {key}"}],
        "sentences": [{"text": f"sentence {key}", "rankScore": 1.0}],
    }
    given = (body.get("analysisInput") or {}) if isinstance(body, dict) else {}
    items = [
        {"id": item.get("id"), "redactedContent": {"text": f"item {number} {key}"}}
        for each in given.get("conversations", [])
        for number, item in enumerate(each.get("conversationItems", []))
    ]
    conversation = {**told, "conversationItems": items}
    return {"documents": [told], "conversations": [conversation], "errors": []}


def _pdf(text: str) -> bytes:
    """A document of one page with one line of text."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    whole, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(whole))
        whole += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    return (
        whole
        + head
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(whole))
    )
