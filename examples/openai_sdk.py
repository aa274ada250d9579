"""OpenAI's SDK against a running gateway. Needs `pip install openai` and `farthing up`."""

from __future__ import annotations

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("FARTHING_URL", "http://127.0.0.1:4000") + "/v1",
    api_key=os.environ.get("FARTHING_KEY", "none"),
)
model = os.environ.get("FARTHING_MODEL", "sim/small")

# A whole answer, and what it cost: the raw response has the headers.
raw = client.chat.completions.with_raw_response.create(
    model=model, messages=[{"role": "user", "content": "What is a farthing?"}]
)
answer = raw.parse()
print(answer.choices[0].message.content)
print("answered by", raw.headers["x-farthing-deployment"], "for $" + raw.headers["x-farthing-cost"])

# A stream. A failure on the way raises; it never looks like an end.
stream = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "Count to three"}],
    stream=True,
    stream_options={"include_usage": True},
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="")
    elif chunk.usage:
        print(f"\n{chunk.usage.prompt_tokens} tokens in, {chunk.usage.completion_tokens} out")

# A tool. (`sim:tool` makes a simulated model call it; a real one decides by itself.)
weather = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
called = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "sim:tool=weather How is it in Lisbon?"}],
    tools=[weather],
)
for call in called.choices[0].message.tool_calls or []:
    print("wants", call.function.name, call.function.arguments)
