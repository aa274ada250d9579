"""Token counts are bounded, estimated offline, and exact only where the real ranks are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.base.tokens import (
    count_tokens,
    count_tokens_in_thread,
    error_share,
    estimate_tokens,
    upper_bound_tokens,
)
from farthing.base.tokens.count import rank_folder

#: Text → exact counts by o200k_base and cl100k_base (rs-bpe 0.1.0 with the vendor's ranks, 2026-11-24).
GOLDEN = {
    "Every model call passes one pipeline, whoever makes it: a client over HTTP, a flow node, a judge, "
    "an embedder. So budgets, quotas, moderation, cache and accounting cannot be skipped. No prompt text "
    "is kept unless a policy says so, with purpose and expiry.": (57, 57),
    "def weigh(data: bytes, weights: Mapping[bytes, float]) -> float:\n"
    "    count = data.translate(_CLASSES).count\n"
    "    return sum([count(pattern) * weight for pattern, weight in weights.items()])\n": (45, 45),
    "Jede Abrechnung wird vor dem Aufruf reserviert und danach beglichen; kein Betrag geht verloren, "
    "auch nicht bei einem Absturz der Maschine.": (30, 40),
    "Каждый вызов модели проходит через один конвейер, и ни один бюджет нельзя обойти.": (20, 37),
    "每一次模型调用都经过同一条流水线,因此预算和配额无法被绕过。": (22, 32),
    "تمر كل مكالمة للنموذج عبر خط واحد ولا يمكن تجاوز الميزانية.": (17, 42),
}


@pytest.mark.parametrize(("text", "exact"), GOLDEN.items())
def test_single_sentences_are_estimated_within_a_third(text: str, exact: tuple[int, int]) -> None:
    for model, count in zip(("gpt-4o", "gpt-4"), exact, strict=True):
        assert abs(estimate_tokens(text, model) - count) <= count / 3


def test_the_golden_sentences_together_are_estimated_within_a_tenth() -> None:
    for index, model in enumerate(("gpt-4o", "gpt-4")):
        exact = sum(counts[index] for counts in GOLDEN.values())
        assert abs(sum(estimate_tokens(text, model) for text in GOLDEN) - exact) <= exact / 10


@given(st.text(max_size=300))
def test_an_estimate_is_never_more_than_a_token_per_byte(text: str) -> None:
    size = len(text.encode("utf-8", "replace"))
    assert (size > 0) <= estimate_tokens(text, "gpt-4o") <= size


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\")))
def test_a_body_with_escapes_is_read_as_the_text_it_means(text: str) -> None:
    escaped = json.dumps({"t": text}).encode()
    plain = json.dumps({"t": text}, ensure_ascii=False).encode()
    assert estimate_tokens(escaped, "gpt-4o") == estimate_tokens(plain, "gpt-4o")


def test_a_long_text_is_estimated_from_slices_of_it() -> None:
    sentence = "The gateway forwards the request, counts it and settles the charge. "
    short = estimate_tokens(sentence * 100, "gpt-4o")
    long = estimate_tokens(sentence * 10_000, "gpt-4o")
    assert abs(long / (short * 100) - 1) < 0.02


def test_the_bound_counts_bytes_and_the_vendors_template() -> None:
    assert upper_bound_tokens(0) > 0
    assert upper_bound_tokens(1000) >= 1000
    assert upper_bound_tokens(1000, has_tools=True) > upper_bound_tokens(1000)


def test_unmeasured_families_state_a_larger_error() -> None:
    assert error_share("gpt-4o-mini") == error_share("openai/gpt-5.1") <= 0.03
    assert error_share("gpt-35-turbo") <= 0.03
    assert error_share("claude-sonnet-4-5") > 0.1


def test_without_ranks_a_count_says_that_it_is_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    count = count_tokens("Hello, world", "gpt-4o")
    assert not count.is_exact
    assert count.error_share == error_share("gpt-4o")


def test_a_damaged_rank_file_is_not_used_and_nothing_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    address = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    file = tmp_path / hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    file.write_bytes(b"damaged")
    assert not count_tokens("Hello", "gpt-4o").is_exact
    assert file.read_bytes() == b"damaged"


async def test_counting_in_a_thread_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert await count_tokens_in_thread("Hi there", "gpt-4") == count_tokens("Hi there", "gpt-4")


def test_with_ranks_at_hand_a_count_is_exact() -> None:
    if not count_tokens("x", "gpt-4o").is_exact:
        pytest.skip(
            f"tiktoken's rank files are not in {rank_folder()}; TIKTOKEN_CACHE_DIR names them."
        )
    count = count_tokens("hello world", "gpt-4o")
    assert (count.tokens, count.error_share) == (2, 0.0)
