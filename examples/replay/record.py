"""Record answers of a provider into a folder, for `type = "replay"`. Stores prompts and answers."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from farthing.base.clock import SystemClock
from farthing.base.config.settings import Provider as ProviderSettings
from farthing.core.models import Deployment
from farthing.core.protocols import Attempt
from farthing.providers.directory import provider_types
from farthing.providers.replay import RecordingProvider

#: Whom to ask: provider type and key, what the provider calls the model, and what callers will.
#: For real answers: "openai", "env:OPENAI_API_KEY", "gpt-4o-mini", "gpt-4o-mini", None.
TYPE, KEY, REMOTE, MODEL, REGION = "sim", None, "small", "gpt-4o-mini", "eastus"
QUESTIONS = ["What is a farthing?", "Count to three"]


async def main(folder: Path) -> None:
    """Ask every question, whole and streamed."""
    settings = ProviderSettings(type=TYPE, key=KEY)
    inner = provider_types().get(TYPE)(TYPE, settings, os.environ, SystemClock())
    provider = RecordingProvider(inner, folder)
    deployment = Deployment(
        name="recorded", provider=TYPE, model=MODEL, remote_name=REMOTE, region=REGION
    )
    for question in QUESTIONS:
        for is_stream in (False, True):
            body = {"model": REMOTE, "messages": [{"role": "user", "content": question}]}
            if is_stream:
                body |= {"stream": True, "stream_options": {"include_usage": True}}
            attempt = Attempt(
                call_id="recording",
                deployment=deployment,
                dialect="openai-chat",
                body=json.dumps(body).encode(),
                stream=is_stream,
            )
            async with provider.open(attempt) as answer:
                async for _ in answer.events:
                    pass
    await provider.aclose()


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "recordings")
    asyncio.run(main(target))
    print(f"{len(list(target.glob('*.json')))} recordings in {target}")
