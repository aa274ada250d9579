"""The checkout's flows for tests that run them in their own process: a copy, and what a flow changes put back."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.flows import cases, test_promptflow_examples

#: The examples; the flows of the original's own tests do things to their process.
NAMES = [name for name in test_promptflow_examples.NAMES if name.startswith("examples/")]
pytestmark = [
    *test_promptflow_examples.pytestmark,
    # The examples' own code warns; it is run, not judged.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout."""
    checkout = Path(test_promptflow_examples.CHECKOUT)
    return cases.copied(checkout, tmp_path_factory.mktemp("flows") / "checkout").resolve()


@pytest.fixture
def clean() -> Iterator[None]:
    """What examples change in the process is put back."""
    environment, folder, path = dict(os.environ), Path.cwd(), list(sys.path)
    packages = os.environ.get("FARTHING_TEST_PROMPTFLOW_PACKAGES")
    if packages:
        sys.path.append(packages)
    yield
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # their open files are closed now, not in a test that forbids it
