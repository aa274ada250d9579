"""Settings are shown with their origins and without their secrets."""

from __future__ import annotations

from pathlib import Path

from farthing.base.config import load
from farthing.base.config.view import rows

TEXT = """
[storage]
url = "postgresql://farthing:canary@db.internal/money"
[providers.p]
type = "openai"
key = "canary-key"
base_url = "https://user:canary@proxy.example/v1"
headers = { x-org = "canary-header", x-env = "env:ORG" }
[telemetry]
otlp_headers = { dd-api-key = "canary-dd" }
"""


def test_secrets_are_masked_and_references_are_not(tmp_path: Path) -> None:
    path = tmp_path / "farthing.toml"
    path.write_text(TEXT, encoding="utf-8")
    shown = {row.name: row for row in rows(load(path, {"FARTHING_SERVER__PORT": "1"}))}
    assert not any("canary" in row.text for row in shown.values())
    assert shown["storage.url"].text == '"postgresql://farthing:***@db.internal/money"'
    assert shown["providers.p.key"].text == '"***"'
    assert shown["providers.p.headers.x-env"].text == '"env:ORG"'
    assert shown["providers.p.key"].origin == str(path)
    assert shown["server.port"].origin == "environment variable FARTHING_SERVER__PORT"
    assert shown["server.host"].origin == "default"
    assert shown["retry.max_tries"].text == "4"
