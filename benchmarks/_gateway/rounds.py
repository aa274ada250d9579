"""Interleaved rounds: every lane runs once in each round, so that a slow moment slows all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks._gateway.requests import Ask
from benchmarks._gateway.world import Bench, Result, Target


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One thing that is compared: a request, and who answers it."""

    target: Target
    ask: Ask


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The results of lanes by name, one per round."""

    results: Mapping[str, list[Result]]

    def median(self, name: str, of: Callable[[Result], float]) -> float:
        """The middle round of one lane."""
        return statistics.median(of(each) for each in self.results[name])

    def ratio(self, name: str, to: str, of: Callable[[Result], float]) -> float:
        """The median of the ratios within rounds: a slow moment of the machine divides out."""
        return statistics.median(of(mine) / of(theirs) for mine, theirs in self._pairs(name, to))

    def added(self, name: str, to: str, of: Callable[[Result], float]) -> float:
        """The median of the differences within rounds."""
        return statistics.median(of(mine) - of(theirs) for mine, theirs in self._pairs(name, to))

    def spread(self, name: str, of: Callable[[Result], float]) -> str:
        """The least and the greatest round, to print beside the median."""
        values = sorted(of(each) for each in self.results[name])
        return f"{name} {values[0]:,.1f} to {values[-1]:,.1f}"

    def _pairs(self, name: str, to: str) -> list[tuple[Result, Result]]:
        return list(zip(self.results[name], self.results[to], strict=True))


def cpu(result: Result) -> float:
    """CPU microseconds of the target per answer."""
    return result.cpu_us


def interleave(bench: Bench, lanes: Mapping[str, Lane], connections: int) -> Rounds:
    """Run every lane in every round, each round beginning with another; one warm-up before the first."""
    results: dict[str, list[Result]] = {name: [] for name in lanes}
    order = list(lanes)
    for lane in lanes.values():
        bench.load(lane.target, lane.ask, connections, seconds=min(1.0, bench.seconds / 2))
    for number in range(bench.rounds):
        shift = number % len(order)
        for name in order[shift:] + order[:shift]:
            lane = lanes[name]
            results[name].append(bench.load(lane.target, lane.ask, connections))
    return Rounds(results=results)


def print_spread(what: str, rounds: Rounds, of: Callable[[Result], float] = cpu) -> None:
    """Print how far the rounds lie apart; the JSON keeps medians alone."""
    print(f"  {what}: {'; '.join(rounds.spread(name, of) for name in rounds.results)}", flush=True)
