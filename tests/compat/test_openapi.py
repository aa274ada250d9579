"""Schemathesis asks everything that the OpenAPI document promises: no 500, and answers of the stated form."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.cli.test_up import farthing, up

EXAMPLES = 20
DOCUMENTED = (502, 503, 504)


@pytest.mark.slow
def test_every_documented_operation_keeps_its_promise(
    tmp_path: Path, require_sdk: Callable[[str], ModuleType]
) -> None:
    schemathesis = require_sdk("schemathesis")
    made = farthing("keys", "create", "root", "--role", "admin", "--json", cwd=tmp_path)
    headers = {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}
    with up(tmp_path) as said:
        with urllib.request.urlopen(said["url"] + "/admin/openapi.json", timeout=10) as reply:
            schema = schemathesis.openapi.from_dict(json.load(reply))
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) > 20
        for operation in operations:
            _ask(operation, said["url"], headers)
        with urllib.request.urlopen(said["url"] + "/ready", timeout=10) as reply:
            assert reply.status == 200


def _ask(operation: Any, url: str, headers: dict[str, str]) -> None:
    is_admin = operation.path.startswith("/admin") and operation.path != "/admin/openapi.json"

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        response = case.call(base_url=url, headers=headers, timeout=30)
        assert response.status_code < 500 or response.status_code in DOCUMENTED, response.text
        if is_admin:
            operation.validate_response(response)

    ask()
