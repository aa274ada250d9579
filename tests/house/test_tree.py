"""What no tracked file may contain: one machine's paths, a registry's host, a heavy binary."""

from __future__ import annotations

import re

from tests.house.source import ROOT, tracked_files

# Written with brackets so that this file does not find itself.
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:ro[o]t|w[o]rk|f[a]rm|home/[a]\w+)/|/U[s]ers/\w")
REGISTRY_HOSTS = re.compile(r"registry[.]n[p]mjs|py[p]i[.]org|python[h]osted|deb[.]deb[i]an")
LARGEST_BYTES = 2_000_000


def test_no_file_names_a_path_of_one_machine() -> None:
    assert not _found(MACHINE_PATHS)


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert not _found(REGISTRY_HOSTS)


def test_no_file_is_larger_than_two_megabytes() -> None:
    assert not [p.name for p in tracked_files() if p.stat().st_size > LARGEST_BYTES]


def test_constraints_pin_every_line_to_one_version() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    loose = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", line)]
    assert not loose


def _found(pattern: re.Pattern[str]) -> list[str]:
    hits = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                hits.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return hits
