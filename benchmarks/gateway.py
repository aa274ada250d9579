"""What the gateway costs per call, beside nginx, a bare prototype and (`--peers`) other gateways, in one run.

The gateway runs on one core, the mock upstream and the load generator (`_gateway/mock.c`, `load.c`) on the
other. Farthing has everything on: key, budget, rates, a route over two deployments, breakers, metrics, the
ledger. CPU is that of the process tree divided by the calls answered. What is compared runs in interleaved
rounds; medians are kept, ratios are medians of the rounds' ratios, the spread is printed.

A whole run is kept in results/gateway.json; `--quick` and `--only` print their figures alone.
Needs gcc; nginx (Debian: `apt-get install nginx-light`) and openssl for the rows that name them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._gateway.bodies import bodies, tls, translated
from benchmarks._gateway.calls import calls
from benchmarks._gateway.long import memory, reports, start
from benchmarks._gateway.many import idle, workers
from benchmarks._gateway.options import options
from benchmarks._gateway.world import Bench, SectionError, build, mock, open_files
from benchmarks._harness import Report

SECTIONS: Mapping[str, Callable[[Bench], None]] = {
    "calls": calls,
    "bodies": bodies,
    "translated": translated,
    "tls": tls,
    "options": options,
    "workers": workers,
    "idle": idle,
    "memory": memory,
    "start": start,
    "reports": reports,
}


def main() -> None:
    arguments = _arguments()
    report = Report("gateway")
    open_files()
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as name:
        folder = Path(name)
        try:
            build(folder)
        except SectionError as why:
            print(f"Nothing was measured. {why}")
            sys.exit(1)
        with mock(folder) as port:
            bench = Bench(
                report=report,
                folder=folder,
                mock=port,
                seconds=arguments.seconds or (0.5 if arguments.quick else 3.0),
                rounds=arguments.rounds or (2 if arguments.quick else 5),
                is_quick=arguments.quick,
                is_long=arguments.long,
                with_peers=arguments.peers,
            )
            for section in arguments.only or SECTIONS:
                print(f"── {section}", flush=True)
                try:
                    SECTIONS[section](bench)
                except (SectionError, RuntimeError, OSError, subprocess.SubprocessError) as why:
                    report.note(f"Section {section} stopped: {why}")
    report.print(keep=not arguments.quick and not arguments.only)


def _sections(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}"
        )
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, help="length of one measurement (3)")
    parser.add_argument("--rounds", type=int, help="interleaved repetitions (5)")
    parser.add_argument("--only", type=_sections, metavar="NAME[,NAME]", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="a look in two minutes, not a result")
    parser.add_argument("--long", action="store_true", help="memory over a million calls")
    parser.add_argument("--peers", action="store_true", help="install and run LiteLLM and Portkey")
    return parser.parse_args()


if __name__ == "__main__":
    main()
