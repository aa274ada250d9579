"""Claim: token counts are estimated within 3 % (mean) of the exact count, offline and in microseconds.

Judges: the vendors' own ranks for o200k and cl100k, from tiktoken where its cache folder has them, else
from the package rs-bpe (which carries them). Texts: English and question texts of the shared data, the
standard library's Python source, and the translations of Django and Wagtail in ten languages. Run it where
those are installed:

    python -m venv /tmp/judge && /tmp/judge/bin/pip install rs-bpe==0.1.0 numpy scipy pytest
    /tmp/judge/bin/pip install --no-deps django==5.2.19 wagtail==VERSION
    PYTHONPATH=src:. /tmp/judge/bin/python benchmarks/tokens.py [--fit]

Every text is cut into pieces of 200 to 6,000 characters by a seeded generator; even pieces fit the weights
(`--fit` prints them for calibration.py), odd ones are judged. The error of a piece is |estimate − exact|
/ exact. "mean_error" of a language is over its held-out pieces, weighted by their exact tokens.
"""

from __future__ import annotations

import gettext
import gzip
import importlib.util
import json
import platform
import random
import re
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from farthing.base.tokens.estimate import estimate_tokens
from farthing.base.tokens.shape import PATTERNS, weigh
from tests.shared_data import shared_path

SEED = 20261124
LANGUAGES = ("de", "fr", "es", "pt", "ru", "ar", "hi", "ja", "ko", "zh_Hans")
MODELS = {"o200k": "gpt-4o", "cl100k": "gpt-4"}
TARGET = 0.03
_MAX_CHARACTERS = 250_000

Encoder = Callable[[str], int]


def judges() -> dict[str, Encoder]:
    """Exact counters by family; empty where no ranks are at hand."""
    if importlib.util.find_spec("rs_bpe"):
        from rs_bpe.bpe import openai

        return {
            "o200k": openai.o200k_base().count,
            "cl100k": openai.cl100k_base().count,
        }
    return {}


def english() -> Iterator[str]:
    """Handbook pages and product documentation of the shared data."""
    for parts in (("productdocs", "corpus.jsonl.gz"), ("handbook_sales", "base.jsonl.gz")):
        path = shared_path("data", "rag", *parts)
        if path is None:
            continue
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                yield max((v for v in row.values() if isinstance(v, str)), key=len, default="")


def code() -> Iterator[str]:
    """The standard library's modules."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        yield path.read_text(encoding="utf-8", errors="replace")


def translations(language: str) -> Iterator[str]:
    """Django's and Wagtail's messages in one language, as running text."""
    messages: set[str] = set()
    for package in ("django", "wagtail"):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for path in sorted(Path(spec.origin).parent.rglob(f"locale/{language}/LC_MESSAGES/*.mo")):
            with path.open("rb") as file:
                catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            messages.update(str(text) for key, text in catalogue.items() if key)
    texts = [re.sub(r"\s+", " ", text) for text in sorted(messages) if len(text) > 8]
    if texts:
        random.Random(SEED).shuffle(texts)
        yield " ".join(texts)


def pieces(texts: Iterator[str], longest: int = 6000) -> list[str]:
    """Cuts of 200 to `longest` characters, as many as make `_MAX_CHARACTERS`."""
    rng = random.Random(SEED)
    whole = list(texts)
    rng.shuffle(whole)
    joined = "\n\n".join(whole)[: _MAX_CHARACTERS * 4]
    cuts: list[str] = []
    start = 0
    while start < min(len(joined), _MAX_CHARACTERS):
        length = rng.randint(200, longest)
        cuts.append(joined[start : start + length])
        start += length
    return [cut for cut in cuts if len(cut) >= 200]


def corpora() -> dict[str, list[str]]:
    """Pieces by language."""
    found = {"english": pieces(english()), "code": pieces(code())}
    for language in LANGUAGES:
        found[language] = pieces(translations(language), 1500)
    return {name: cuts for name, cuts in found.items() if cuts}


def fit(texts: dict[str, list[str]], exact: Encoder) -> list[float]:
    """Non-negative weights of the features, least squares of the relative error, languages equal."""
    import numpy
    from scipy.optimize import nnls

    rows, targets = [], []
    for cuts in texts.values():
        training = cuts[::2]
        for cut in training:
            count = exact(cut)
            scale = 1 / count / len(training) ** 0.5
            rows.append([scale * weigh(cut.encode(), {pattern: 1.0}) for pattern in PATTERNS])
            targets.append(scale * count)
    weights, _ = nnls(numpy.array(rows), numpy.array(targets))
    return [round(float(weight), 4) for weight in weights]


def mean_error(cuts: list[str], model: str, exact: Encoder) -> float:
    """Token-weighted mean relative error over the held-out pieces."""
    off = total = 0
    for cut in cuts[1::2]:
        count = exact(cut)
        off += abs(estimate_tokens(cut, model) - count)
        total += count
    return round(off / total, 4)


def microseconds() -> float:
    """Per call on 2 kB of English-like text, best of 20 rounds of 200."""
    text = ("The gateway forwards the request, counts it and settles the charge. " * 30)[:2048]
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        for _ in range(200):
            estimate_tokens(text, "gpt-4o")
        best = min(best, (time.process_time() - start) / 200)
    return round(best * 1e6, 1)


def main() -> None:
    """Print the figures; the last line is JSON."""
    texts = corpora()
    exact = judges()
    figures: dict[str, object] = {"estimate_us_per_2kB": microseconds()}
    if not exact:
        print("No exact ranks are at hand: the error was not measured. See the module's docstring.")
    for family, count in exact.items():
        if "--fit" in sys.argv:
            print(family, json.dumps(fit(texts, count)))
        errors = {name: mean_error(cuts, MODELS[family], count) for name, cuts in texts.items()}
        figures[f"{family}_mean_error"] = errors
        figures[f"{family}_overall"] = round(sum(errors.values()) / len(errors), 4)
        sizes = {name: len(cuts[1::2]) for name, cuts in texts.items()}
        figures["held_out_pieces"] = sizes
        for name, error in errors.items():
            print(f"{family:7} {name:8} {error:6.2%} over {sizes[name]} pieces")
    found = {
        n: version(n)
        for n in ("rs-bpe", "django", "wagtail")
        if importlib.util.find_spec(n.replace("-", "_"))
    }
    versions = {"python": platform.python_version(), **found, "patterns": len(PATTERNS)}
    print(json.dumps({"figures": figures, "targets": {"overall": TARGET}, "versions": versions}))


if __name__ == "__main__":
    main()
