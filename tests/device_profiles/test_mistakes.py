"""Each mistake in a profile or class has one message."""

from pathlib import Path

import pytest

from device_profiles.loading import load_profile
from device_profiles.vocabulary import load_class
from telemetry.errors import ConfigError

BAD = Path(__file__).parent / "bad"


@pytest.mark.parametrize("path", sorted(BAD.glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_mistake_is_told_as_expected(path):
    with pytest.raises(ConfigError) as caught:
        (load_class if path.parent.name == "classes" else load_profile)(path)
    assert (
        str(caught.value).replace(f"{path.parent}/", "") == path.with_suffix(".expected").read_text().strip()
    )
