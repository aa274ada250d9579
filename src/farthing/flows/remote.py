"""Models of a gateway that runs elsewhere, asked over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from farthing.core.chat import Failed, TextDelta
from farthing.core.errors import (
    FarthingError,
    UpstreamTruncatedError,
    UpstreamUnreachableError,
)
from farthing.core.money import parse_dollars
from farthing.core.private import Private
from farthing.flows.models import APIS, Models, Spent, answer_of
from farthing.wire.dialects import codec

if TYPE_CHECKING:
    import aiohttp

#: How long an answer may be silent, seconds.
SILENCE_S = 600.0
CONNECT_S = 5.0


class RemoteModels(Models):
    """Asks the gateway at `url`. Use it as `async with RemoteModels(url, key) as models`."""

    def __init__(self, url: str, key: Private | None) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> RemoteModels:
        import aiohttp

        headers = {"authorization": f"Bearer {self._key.reveal()}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, api: str, body: dict[str, Any], spent: Spent) -> dict[str, Any]:
        """See `Models.ask`."""
        import aiohttp

        try:
            async with self._post(api, body) as reply:
                wire = await reply.read()
                if reply.status != 200:
                    raise _refusal(reply.status, wire)
                headers = reply.headers
        except aiohttp.ClientError as error:
            raise self._unreachable(error) from error
        answer = answer_of(api, wire)
        _count(headers, answer.get("usage") or {}, spent)
        return answer

    async def stream(
        self, api: str, body: dict[str, Any], spent: Spent
    ) -> AsyncGenerator[str, None]:
        """See `Models.stream`."""
        import aiohttp

        reader = codec(APIS[api].dialect).reader(want_deltas=True)
        try:
            async with self._post(api, body) as reply:
                if reply.status != 200:
                    raise _refusal(reply.status, await reply.read())
                async for chunk in reply.content.iter_any():
                    for event in reader.feed(chunk):
                        for delta in event.deltas or ():
                            if isinstance(delta, Failed):
                                raise delta.error
                            if isinstance(delta, TextDelta):
                                yield delta.text
                reader.eof()
                usage = reader.tally.usage
                told = {} if usage is None else {
                    "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens
                }  # fmt: skip
                _count(reply.headers, told, spent)
        except aiohttp.ClientConnectionError as error:
            raise self._unreachable(error) from error
        except aiohttp.ClientError as error:
            raise UpstreamTruncatedError("The gateway's answer broke off.") from error

    def _post(self, api: str, body: dict[str, Any]) -> Any:
        assert self._session is not None, "the models are open"
        headers = {"content-type": "application/json"}
        url = self._url + APIS[api].path
        return self._session.post(url, data=msgspec.json.encode(body), headers=headers)

    def _unreachable(self, error: Exception) -> FarthingError:
        return UpstreamUnreachableError(
            f"The gateway at {self._url} cannot be reached or broke off ({type(error).__name__}).",
            hint="Is it running? Start one with `farthing up`.",
        )


def _count(headers: Mapping[str, str], usage: Mapping[str, Any], spent: Spent) -> None:
    spent.calls += 1
    spent.input_tokens += int(usage.get("prompt_tokens") or 0)
    spent.output_tokens += int(usage.get("completion_tokens") or 0)
    cost = headers.get("x-farthing-cost")
    spent.nanodollars += parse_dollars(cost) if cost else 0


def _refusal(status: int, body: bytes) -> FarthingError:
    try:
        message = str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = "That address does not answer like a gateway."
    hint = "The key is taken from --key or FARTHING_KEY." if status == 401 else None
    return FarthingError(message, hint=hint, status=status)
