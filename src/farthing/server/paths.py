"""From method and path to the face and operation that answer it."""

from __future__ import annotations

import re

import msgspec

from farthing.core.errors import NotFoundError, RequestError, did_you_mean
from farthing.server.faces.face import Face, Operation
from farthing.wire.edge.exchange import Exchange

#: Google writes a method behind the model's name.
_GOOGLE = ("/v1beta/models/", "/v1/models/")
_VERBS = ("generateContent", "streamGenerateContent", "countTokens")
_LISTING = "GET /admin/openapi.json lists all paths."
_PARAMETER = re.compile(r"\\\{(\w+)\\\}")


class Found(msgspec.Struct, frozen=True):
    """The operation that answers a request, and the parts of the path that it asked for."""

    face: Face
    operation: Operation
    parameters: dict[str, str]


class MethodNotAllowedError(RequestError):
    """The path exists, the method does not. `allowed`: those that do."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, method: str, path: str, allowed: list[str]) -> None:
        super().__init__(
            f"{method[:20]} is not offered at {path[:200]}.", hint=f"Use {' or '.join(allowed)}."
        )
        self.allowed = allowed


class Paths:
    """All operations of all faces. Where two faces share a path, the first whose `when` holds has it."""

    def __init__(self, faces: tuple[Face, ...]) -> None:
        self._by_name = {face.name: face for face in faces}
        self._certain: dict[tuple[str, str], Found] = {}
        self._exact: dict[str, list[tuple[Face, Operation]]] = {}
        self._patterns: list[tuple[re.Pattern[str], Face, Operation]] = []
        self._templates: set[str] = set()
        for face in faces:
            for operation in face.operations:
                self._templates.add(operation.path)
                if "{" not in operation.path:
                    self._exact.setdefault(operation.path, []).append((face, operation))
                else:
                    self._patterns.append((_pattern(operation.path), face, operation))
        for path, offers in self._exact.items():
            self._note_certain(path, offers)

    def find(self, exchange: Exchange) -> Found:
        """The operation for this request. Raises NotFoundError, MethodNotAllowedError."""
        certain = self._certain.get((exchange.method, exchange.path))
        if certain is not None:
            return certain
        path = exchange.path
        if len(path) > 1 and path.endswith("/"):
            path = path.rstrip("/")
        method = "GET" if exchange.method == "HEAD" else exchange.method
        matches = self._matches(path, exchange)
        for found in matches:
            if found.operation.method == method:
                return found
        _, verb, word = path.rpartition(":")
        if matches and not (verb and method == "POST" and path.startswith(_GOOGLE)):
            methods = sorted({found.operation.method for found in matches})
            raise MethodNotAllowedError(exchange.method, path, methods)
        if matches:  # `models/{model}` would take the wrong verb for a part of the name
            hint = did_you_mean(word, _VERBS) or f"Use one of {', '.join(_VERBS)}."
            raise NotFoundError(f"There is no method ':{word[:64]}' for models here.", hint=hint)
        near = did_you_mean(path, self._nearby(path))
        listing = _LISTING if "admin" in self._by_name else None
        raise NotFoundError(
            f"There is no {path[:200]} here.", hint=" ".join(filter(None, (near, listing))) or None
        )

    def face_for(self, exchange: Exchange) -> Face:
        """The face in whose form a request without operation is refused."""
        matches = self._matches(exchange.path, exchange)
        if matches and not matches[0].face.is_control:  # the path is known, only the method is not
            return matches[0].face
        by_name = self._by_name
        if len(by_name) == 1:  # a flow that is served alone
            return next(iter(by_name.values()))
        if exchange.path.startswith("/admin"):
            return by_name["admin"]
        if exchange.path.startswith("/flows"):
            return by_name["flows"]
        if exchange.path.startswith("/openai"):
            return by_name["azure"]
        if exchange.path.startswith("/v1beta") or exchange.header("x-goog-api-key"):
            return by_name["google"]
        if exchange.path.startswith("/v1/messages") or exchange.header("anthropic-version"):
            return by_name["anthropic"]
        return by_name["openai"]

    def _note_certain(self, path: str, offers: list[tuple[Face, Operation]]) -> None:
        """Keep what method and path alone decide, whatever else the request says."""
        seen: set[str] = set()
        for face, operation in offers:
            if operation.when is None and operation.method not in seen:
                self._certain[operation.method, path] = Found(face, operation, {})
            seen.add(operation.method)

    def _nearby(self, path: str) -> list[str]:
        """The paths that a caller of this one may have meant: no admin path for a model's."""
        is_admin = path.startswith("/admin")
        return [each for each in self._templates if each.startswith("/admin") == is_admin]

    def _matches(self, path: str, exchange: Exchange) -> list[Found]:
        matches = [
            Found(face, operation, {})
            for face, operation in self._exact.get(path, ())
            if operation.when is None or operation.when(exchange)
        ]
        if matches:
            return matches
        for pattern, face, operation in self._patterns:
            match = pattern.fullmatch(path)
            if match and (operation.when is None or operation.when(exchange)):
                matches.append(Found(face, operation, match.groupdict()))
        return matches


def _pattern(template: str) -> re.Pattern[str]:
    # A name may hold slashes (`sim/gpt-4o`), so a parameter takes as many segments as the rest leaves it.
    return re.compile(_PARAMETER.sub(r"(?P<\1>.+)", re.escape(template)))
