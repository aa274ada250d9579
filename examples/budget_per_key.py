"""A key and a budget for each customer over the admin API. Needs `farthing up` and nothing else."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

URL = os.environ.get("FARTHING_URL", "http://127.0.0.1:4000")
#: Needed once any key exists: `farthing keys create boss --role admin`.
ADMIN_KEY = os.environ.get("FARTHING_ADMIN_KEY", "")


def ask(method: str, path: str, body: object = None, key: str = ADMIN_KEY) -> Any:
    """One request; raises urllib.error.HTTPError, whose body says what to do."""
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


# The first key closes the door to whoever has none, so an administrator's comes first.
if not ADMIN_KEY:
    ADMIN_KEY = ask("POST", "/admin/keys", {"name": "boss", "role": "admin"}, "")["secret"]

secrets = {}
for customer in ("acme", "globex"):
    made = ask("POST", "/admin/keys", {"name": customer, "tags": ["customers"]}, ADMIN_KEY)
    secrets[customer] = made["secret"]  # shown once: hand it over now
    limit = {"dollars": "0.001", "window": "day", "key": customer}
    ask("PUT", f"/admin/budgets/{customer}", limit, ADMIN_KEY)

for customer, secret in secrets.items():
    messages = [{"role": "user", "content": f"Hello from {customer}"}]
    body = {"model": "sim/small", "max_tokens": 100, "messages": messages}
    answer = ask("POST", "/v1/chat/completions", body, secret)
    print(customer, "gets:", answer["choices"][0]["message"]["content"])
    try:
        dear = {"model": "sim/large", "max_tokens": 5000, "messages": messages}
        ask("POST", "/v1/chat/completions", dear, secret)
    except urllib.error.HTTPError as refusal:
        print(customer, refusal.code, json.load(refusal)["error"]["message"])

for row in ask("GET", "/admin/spend?by=key", key=ADMIN_KEY):
    print(f"{row['name']}: {row['calls']} call, {row['nanodollars']} nanodollars (simulated)")
