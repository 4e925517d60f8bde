"""Each mistake in a file has one message, which names file, field, value and the way out."""

from pathlib import Path

import msgspec
import pytest

from telemetry.config import Secret, load_toml, load_yaml
from telemetry.errors import ConfigError

BAD = Path(__file__).parent / "bad"


class Bus(msgspec.Struct, forbid_unknown_fields=True):
    driver: str
    period_s: float = 1.0


class File(msgspec.Struct, forbid_unknown_fields=True):
    agent: str
    buses: list[Bus] = []
    metrics: dict[str, Bus] = {}
    password: Secret | None = None
    path: Path | None = None


def load(path):
    return (load_toml if path.suffix == ".toml" else load_yaml)(path, File)


@pytest.mark.parametrize(
    "path", sorted(p for p in BAD.iterdir() if p.suffix != ".expected"), ids=lambda p: p.name
)
def test_a_mistake_is_told_as_expected(path):
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).replace(str(BAD) + "/", "") == path.with_suffix(".expected").read_text().strip()


def test_a_missing_file_is_told_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")


def test_a_secret_comes_from_a_file_or_the_environment_and_never_shows(tmp_path, monkeypatch):
    (tmp_path / "pass").write_text("hunter2\n")
    (tmp_path / "a.toml").write_text('agent = "a"\npassword = "file:pass"\n')
    loaded = load(tmp_path / "a.toml")
    assert loaded.password.reveal() == "hunter2"
    assert "hunter2" not in repr(loaded)
    monkeypatch.setenv("YEMAI_PASS", "other")
    (tmp_path / "a.toml").write_text('agent = "a"\npassword = "env:YEMAI_PASS"\n')
    assert load(tmp_path / "a.toml").password.reveal() == "other"


def test_a_path_is_relative_to_the_file_that_names_it(tmp_path):
    (tmp_path / "a.toml").write_text('agent = "a"\npath = "state/x.db"\n')
    assert load(tmp_path / "a.toml").path == tmp_path / "state" / "x.db"
