"""Alerts: a budget passed a mark; the log hears of it, and a webhook where one is set."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from farthing.accounts.budgets import Alert
from farthing.base.clock import Clock
from farthing.base.config.secrets import resolve_secret
from farthing.base.config.settings import Alerts as AlertSettings
from farthing.core.errors import ConfigError
from farthing.core.money import format_dollars

_log = logging.getLogger("farthing.alerts")

#: One try of the webhook, and the pauses between tries (doubled each time), seconds.
_TRY_S = 10.0
_PAUSE_S = 0.5
_MAX_PAUSE_S = 60.0
#: Alerts under way at most; more are told to the log only.
_MAX_WAITING = 100


class Alerts:
    """Sends alerts in the background; a call never waits for them."""

    def __init__(self, settings: AlertSettings, environ: Mapping[str, str], clock: Clock) -> None:
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._waiting: set[asyncio.Task[None]] = set()
        self.configure(settings)

    def configure(self, settings: AlertSettings) -> None:
        """Take new settings."""
        self._settings = settings
        if settings.webhook_url is not None:
            # Imported now and not at the first alert, when calls would wait for it.
            import aiohttp  # noqa: F401

    def send(self, alert: Alert) -> None:
        """Tell the log now and the webhook in the background."""
        _log.warning(
            "Budget '%s' has used %d %% of its %s for the %s.",
            alert.budget,
            alert.percent,
            format_dollars(alert.limit),
            alert.window,
        )
        if self._settings.webhook_url is None or len(self._waiting) >= _MAX_WAITING:
            return
        task = asyncio.create_task(self._post(alert, self._settings.webhook_url))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def aclose(self) -> None:
        """Give what is under way a moment, then stop."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=2)
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _post(self, alert: Alert, url: str) -> None:
        import aiohttp

        body = msgspec.json.encode({"event": "budget.alert", **msgspec.to_builtins(alert)})
        try:
            headers = {"content-type": "application/json", **self._signature(body)}
        except ConfigError as error:
            _log.error("The alert for budget '%s' was not sent: %s", alert.budget, error)
            return
        pause, why = _PAUSE_S, ""
        for _ in range(self._settings.max_tries):
            try:
                timeout = aiohttp.ClientTimeout(total=_TRY_S)
                async with (
                    aiohttp.ClientSession(timeout=timeout) as session,
                    session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
                ):
                    if answer.status < 300:
                        return
                    why = f"status {answer.status}"
            except (aiohttp.ClientError, TimeoutError) as error:
                why = type(error).__name__
            await self._clock.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE_S)
        _log.error(
            "The alert webhook did not take the alert for budget '%s' in %d tries: %s.",
            alert.budget,
            self._settings.max_tries,
            why,
        )

    def _signature(self, body: bytes) -> dict[str, str]:
        """`x-farthing-signature: t=SECONDS,v1=HEX`: HMAC-SHA256 of `SECONDS.BODY`."""
        if self._settings.webhook_secret is None:
            return {}
        secret = resolve_secret(self._settings.webhook_secret, self._environ).reveal()
        moment = str(int(self._clock.now()))
        digest = hmac.new(secret.encode(), moment.encode() + b"." + body, sha256).hexdigest()
        return {"x-farthing-signature": f"t={moment},v1={digest}"}
