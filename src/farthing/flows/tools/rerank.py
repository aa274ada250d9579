"""Rerank: results of several searches as one list, the best for the query first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from farthing.core.errors import did_you_mean
from farthing.flows.code.tool import NamesConnections, node
from farthing.flows.connections.connections import Connections
from farthing.flows.connections.types import ServerlessConnection
from farthing.flows.tools.errors import RerankError
from farthing.flows.tools.service import Service, key_of

SERVICE = Service(
    name="The reranking model",
    refused=RerankError,
    broken=RerankError,
    refusal="Does the connection's api_base lead to a deployment of Cohere Rerank?",
)
#: Where a result keeps its rank.
SCORE = "@promptflow_vectordb.reranker_score"
_RANKERS = ("BM25", "Scaled Score Fusion", "Serverless Deployment")
#: Okapi BM25 (Robertson et al., TREC-3, 1994), with the constants of the library that the original ranks with.
_K1, _B = 1.5, 0.75
#: What a word in more than half of the results weighs, as a share of the mean weight; below zero by the formula.
_FLOOR = 0.25
#: The rank constant of score fusion (Cormack et al., SIGIR 2009, section 3) unless another is said.
_RANK_CONSTANT = 60

Result = dict[str, Any]


class Rerank(NamesConnections):
    """Ranks by words, by scores, or by a model that a serverless connection leads to."""

    @node
    def rerank(
        self,
        ranker_parameters: str | dict[str, Any],
        query: str,
        result_groups: list[Any],
        top_k: int = 3,
    ) -> list[Result]:
        """The results, best first, each with its score in `additional_fields`.

        ranker_parameters: JSON with `ranker_type`: `BM25`, `Scaled Score Fusion` (and `ssf_rank_constant`) or
        `Serverless Deployment` (and `connection_id`, whose last part names a connection).
        result_groups: a list of results, or of lists of them; each has a `text`, for fusion a `score`.
        top_k: how many come back; 0 none, below 0 all. Raises RerankError, ConnectionMissingError.
        """
        told = _parameters(ranker_parameters)
        groups = _groups(result_groups)
        if top_k == 0 or not any(groups):
            return []
        results = [result for group in groups for result in group]
        kind = told.get("ranker_type")
        if kind == "Serverless Deployment":
            return self._by_model(told, query, results, top_k)
        if kind == "BM25":
            scores = bm25([_text(result).split(" ") for result in results], query.split(" "))
        elif kind == "Scaled Score Fusion":
            scores = _fused(groups, int(told.get("ssf_rank_constant") or _RANK_CONSTANT))
        else:
            raise RerankError(
                f"There is no ranker '{str(kind)[:40]}'.",
                hint=did_you_mean(str(kind), _RANKERS) or f"Known: {', '.join(_RANKERS)}.",
            )
        ranked = [_scored(result, score) for result, score in zip(results, scores, strict=True)]
        # From behind: of equals the later comes first, as in the original.
        ranked = sorted(ranked, key=_score)[::-1]
        return ranked[:top_k] if top_k > 0 else ranked

    def _by_model(
        self, told: Mapping[str, Any], query: str, results: Sequence[Result], top_k: int
    ) -> list[Result]:
        connection = self._connection(str(told.get("connection_id") or ""))
        key = key_of(connection, ServerlessConnection, SERVICE.name)
        body: dict[str, Any] = {"query": query, "documents": [_text(each) for each in results]}
        if top_k > 0:
            body["top_n"] = top_k
        answer = SERVICE.ask(
            "POST",
            f"{str(connection.api_base).rstrip('/')}/v1/rerank",
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            body=msgspec.json.encode(body),
            connection=connection.name,
        )
        ranked = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(ranked, list):
            raise SERVICE.malformed("it has no results")
        found = []
        for each in ranked:
            index = each.get("index") if isinstance(each, dict) else None
            if not isinstance(index, int) or not 0 <= index < len(results):
                raise SERVICE.malformed("it ranks a document that was not sent")
            found.append(_scored(results[index], each.get("relevance_score")))
        return found

    def _connection(self, identifier: str) -> ServerlessConnection:
        """By `…/connections/NAME`, as the original's editor writes it, or by the name alone."""
        name = identifier.rpartition("/connections/")[2].partition("/")[0]
        if not name:
            raise RerankError(
                "The ranker 'Serverless Deployment' has no connection_id.",
                hint='Write {"ranker_type": "Serverless Deployment", "connection_id": "NAME"}.',
            )
        connections = self.connections or Connections(Path.cwd())
        found = connections.get(name, wanted=(ServerlessConnection.__name__,))
        assert isinstance(found, ServerlessConnection)  # `wanted` says so
        return found


def bm25(documents: Sequence[Sequence[str]], query: Sequence[str]) -> list[float]:
    """The Okapi BM25 score of each document, given as words, for the words of a query."""
    counts = [Counter(document) for document in documents]
    lengths = [len(document) for document in documents]
    mean = sum(lengths) / len(lengths)
    holding = Counter(word for count in counts for word in count)
    weights = {
        word: math.log(len(documents) - times + 0.5) - math.log(times + 0.5)
        for word, times in holding.items()
    }
    least = _FLOOR * sum(weights.values()) / len(weights)
    scores = [0.0] * len(documents)
    for word in query:
        weight = weights.get(word, 0.0)
        weight = least if weight < 0 else weight
        for index, count in enumerate(counts):
            times = count[word]
            norm = _K1 * (1 - _B + _B * lengths[index] / mean)
            scores[index] += weight * (times * (_K1 + 1) / (times + norm))
    return scores


def _fused(groups: Sequence[Sequence[Result]], constant: int) -> list[float]:
    """The reciprocal of a rank that a result's share of its group's scores stands for."""
    scores = []
    for group in groups:
        own = [result.get("score") for result in group]
        numbers = [float(each) for each in own if isinstance(each, int | float) and each]
        if len(numbers) != len(group):
            raise RerankError(
                "A result has no score, or one of 0, and Scaled Score Fusion ranks by scores.",
                hint="Rank with BM25, or give each result the score of its search.",
            )
        scores += [1 / (constant + sum(numbers) / each) for each in numbers]
    return scores


def _parameters(said: str | Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        told = msgspec.json.decode(said) if isinstance(said, str) else said
    except msgspec.DecodeError:
        told = None
    if not isinstance(told, Mapping):
        raise RerankError(
            "ranker_parameters is no JSON object.", hint='Write {"ranker_type": "BM25"}.'
        )
    return told


def _groups(said: Any) -> list[list[Result]]:
    if isinstance(said, list):
        if all(isinstance(each, dict) for each in said):
            return [said]
        if all(isinstance(g, list) and all(isinstance(each, dict) for each in g) for g in said):
            return said
    raise RerankError(
        f"result_groups is a {type(said).__name__} that holds no results.",
        hint="Give it a list of results, or a list of such lists: what a lookup returns.",
    )


def _text(result: Result) -> str:
    text = result.get("text")
    if not isinstance(text, str):
        raise RerankError("A result has no text.", hint='Each result is {"text": …, …}.')
    return text


def _scored(result: Result, score: Any) -> Result:
    """The result with its score; the one that was given is left as it was."""
    return {
        **result,
        "additional_fields": {**(result.get("additional_fields") or {}), SCORE: score},
    }


def _score(result: Result) -> float:
    score: float = result["additional_fields"][SCORE]
    return score
