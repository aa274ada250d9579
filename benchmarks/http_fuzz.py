"""Do we, h11 and nginx see the same requests in the same bytes? Hundreds of thousands of odd ones.

A disagreement is a border that two readers draw differently while neither refuses: what smuggling is made
of. A request that we refuse and another takes is none, and one that we take and another refuses is counted
apart. Every case has a number, which makes it again: `http_fuzz.py --case 12345`.

    python benchmarks/http_fuzz.py [--cases 200000] [--nginx-cases 200000] [--seconds 900]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._harness import Report
from benchmarks._http_cases import requests
from benchmarks._http_readers import Nginx, Seen, h11s, nginx, ours

#: One case in so many is also read split at every byte, and in two pieces at every place.
SPLIT_EVERY = 200
#: Connections to nginx at a time.
AT_ONCE = 32


class Tally(msgspec.Struct):
    """What came out. disagreements: the numbers of the cases, with the other reader's name."""

    counts: Counter[str] = msgspec.field(default_factory=Counter)
    disagreements: list[tuple[str, int]] = msgspec.field(default_factory=list)

    def judge(self, name: str, number: int, us: Seen, other: Seen, *, paths: bool) -> None:
        """Compare two readings of one case."""
        self.counts[f"cases_{name}"] += 1
        mine, theirs = _borders(us, paths), _borders(other, paths)
        common = min(len(mine), len(theirs))
        if mine[:common] != theirs[:common]:
            self.disagreements.append((name, number))
        elif len(mine) < len(theirs):
            if us.is_refused:
                self.counts[f"refused_here_only_{name}"] += 1
            elif us.is_closed:  # nginx goes on when a later Connection line takes the close back
                self.counts[f"closed_here_only_{name}"] += 1
            else:
                self.disagreements.append((name, number))
        elif len(mine) > len(theirs):
            if other.is_closed:
                self.counts[f"closed_by_{name}_only"] += 1
            elif other.is_refused:
                self.counts[f"refused_by_{name}_only"] += 1
            else:
                self.disagreements.append((name, number))


def _borders(seen: Seen, paths: bool) -> list[tuple[str, ...] | tuple[str, bytes]]:
    return [
        (each.method, each.path, each.body.hex())
        if paths and each.path
        else (each.method, each.body)
        for each in seen.messages
    ]


def against_h11(numbers: Sequence[int], tally: Tally, until: float) -> None:
    """Every case whole, and a sample of them in all their splits."""
    for number in numbers:
        if monotonic() > until:
            return
        data = requests(number)
        us = ours([data])
        tally.counts["requests"] += len(us.messages) + us.is_refused
        tally.judge("h11", number, us, h11s([data]), paths=True)
        if number % SPLIT_EVERY == 0:
            for pieces in _splits(data):
                tally.counts["splits"] += 1
                if ours(pieces) != us:
                    tally.disagreements.append(("split", number))
                    break


def _splits(data: bytes) -> Iterator[list[bytes]]:
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


async def against_nginx(numbers: Sequence[int], tally: Tally, until: float) -> bool:
    """The same cases over loopback. False where there is no nginx."""
    async with nginx() as reader:
        if reader is None:
            return False
        queue = iter(numbers)
        await asyncio.gather(*(_ask(reader, queue, tally, until) for _ in range(AT_ONCE)))
        return True


async def _ask(reader: Nginx, queue: Iterator[int], tally: Tally, until: float) -> None:
    for number in queue:
        if monotonic() > until:
            return
        data = requests(number)
        tally.judge("nginx", number, ours([data]), await reader.see(data), paths=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--nginx-cases", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=900.0, help="of both parts together")
    parser.add_argument("--case", type=int, help="show one case and what is seen in it")
    options = parser.parse_args()
    if options.case is not None:
        asyncio.run(_show(options.case))
        return
    began, tally = monotonic(), Tally()
    against_h11(range(options.cases), tally, began + options.seconds * 0.6)
    has_nginx = asyncio.run(
        against_nginx(range(options.nginx_cases), tally, began + options.seconds)
    )
    report = Report("http_fuzz")
    for name, count in sorted(tally.counts.items()):
        report.add(name, count)
    report.add("seconds", monotonic() - began)
    report.add("disagreements", len(tally.disagreements), target=0)
    if not has_nginx:
        report.note("There is no nginx here; only h11 was asked.")
    for name, number in tally.disagreements[:20]:
        report.note(f"{name} disagrees about case {number}")
    report.print(h11=version("h11"))
    sys.exit(bool(tally.disagreements))


async def _show(number: int) -> None:
    data = requests(number)
    print(data)
    print("ours ", ours([data]))
    print("h11  ", h11s([data]))
    async with nginx() as reader:
        if reader is not None:
            print("nginx", await reader.see(data))


if __name__ == "__main__":
    main()
