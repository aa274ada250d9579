"""The official openai package, with nothing but its base URL changed."""

from __future__ import annotations

from typing import Any

SAY = [{"role": "user", "content": "Where is Ulm?"}]


def test_a_chat_is_answered(openai_client: Any) -> None:
    made = openai_client.chat.completions.create(model="chat", messages=SAY)
    assert made.choices[0].message.content.startswith("[simulated]")
    assert made.choices[0].finish_reason == "stop"
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > 0
