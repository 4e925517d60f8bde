"""What the tests of ingest share."""

import pytest
from world import Bench


@pytest.fixture
def bench(tmp_path):
    """A pipeline with its ledger and a store, without broker and network."""
    one = Bench(tmp_path)
    yield one
    one.close()
