"""What nodes with `enable_cache: true` returned, kept in this process: the same node on the same inputs."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

from farthing.core.errors import FlowError
from farthing.flows.dag.includes import located
from farthing.flows.engine.plan import Body
from farthing.flows.graph import Flow, Node

#: Values that are kept, unless the caller says otherwise; the one not used for longest goes first.
MAX_VALUES = 1000
#: Bytes, as JSON, of one value; a larger one is not kept.
MAX_BYTES = 1_000_000


class NodeCache:
    """Kept values by key; safe in threads. max_values: how many. hits, misses: so far.

    Keys are digests, so no input stays in memory for its key's sake. Values are kept as JSON and read anew,
    so that a node which changes what it was given changes nobody else's; one that is no JSON is not kept.
    """

    def __init__(self, *, max_values: int = MAX_VALUES) -> None:
        self._max_values = max_values
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def wrap(self, flow: Flow, node: Node, body: Body) -> Body:
        """The body, asked only for what it has not answered yet; as it is where the node is not cached.

        A file that was changed since is another node. Nodes behind all lines and generators are not kept.
        """
        if not node.is_cached or node.is_aggregation:
            return body
        identity = identity_of(flow, node)
        call = (
            self._waiting(identity, body.call)
            if body.is_async
            else self._plain(identity, body.call)
        )
        return msgspec.structs.replace(body, call=call)

    def _plain(self, identity: bytes, call: Callable[..., Any]) -> Callable[..., Any]:
        def cached(**values: Any) -> Any:
            key = _key(identity, values)
            kept = self._get(key)
            if kept is not None:
                return msgspec.json.decode(kept)
            value = call(**values)
            self._keep(key, value)
            return value

        return cached

    def _waiting(self, identity: bytes, call: Callable[..., Any]) -> Callable[..., Any]:
        async def cached(**values: Any) -> Any:
            key = _key(identity, values)
            kept = self._get(key)
            if kept is not None:
                return msgspec.json.decode(kept)
            value = await call(**values)
            self._keep(key, value)
            return value

        return cached

    def _get(self, key: bytes | None) -> bytes | None:
        with self._lock:
            kept = self._kept.get(key) if key is not None else None
            if key is None or kept is None:
                self.misses += 1
                return None
            self._kept.move_to_end(key)
            self.hits += 1
            return kept

    def _keep(self, key: bytes | None, value: Any) -> None:
        text = plain_json(value)
        if key is None or text is None or len(text) > MAX_BYTES:
            return
        with self._lock:
            self._kept[key] = text
            self._kept.move_to_end(key)
            while len(self._kept) > self._max_values:
                self._kept.popitem(last=False)


def identity_of(flow: Flow, node: Node) -> bytes:
    """What the node is: its source's text, its fields and the literals of its inputs. No secret is in it.

    A connection counts by its name. Modules that the source imports do not count.
    """
    digest = blake2b(digest_size=32)
    if node.source.path:
        try:
            digest.update(located(flow, node.source.path).read_bytes())
        except OSError as error:
            raise FlowError(
                f"The source of the node '{node.name}' cannot be read.", node=node.name
            ) from error
    fields = (
        node.kind,
        node.source,
        node.connection,
        node.api,
        node.provider,
        node.module,
        node.function,
    )
    literals = [(port.name, str(port.value)) for port in node.inputs if port.reference is None]
    digest.update(msgspec.json.encode([str(flow.folder.resolve()), fields, sorted(literals)]))
    return digest.digest()


def _key(identity: bytes, values: dict[str, Any]) -> bytes | None:
    """None for inputs of which JSON does not say all: they are not looked up."""
    given = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in values.items()
    }
    text = plain_json(given)
    return None if text is None else blake2b(identity + text, digest_size=32).digest()


def plain_json(value: Any) -> bytes | None:
    """The value as JSON; None where it would not come back from JSON as it was."""
    if not _is_plain(value) or inspect.isgenerator(value):
        return None
    try:
        return msgspec.json.encode(value, order="deterministic")
    except (TypeError, ValueError, RecursionError, OverflowError, msgspec.MsgspecError):
        return None


def _is_plain(value: Any) -> bool:
    """Whether it comes back from JSON as it was: no tuple, no subclass, no number that JSON has not."""
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _is_plain(each) for key, each in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    if kind is float:
        return bool(value == value and abs(value) != float("inf"))  # noqa: PLR0124 -- a NaN is no JSON
    return value is None or kind in (str, int, bool)
