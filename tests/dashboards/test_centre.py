"""Where the command centre's page leads is where the boards are."""

import pytest

from command_center.config import load_config
from dashboards.generate import generate
from dashboards.look import LANGUAGES, Look
from device_profiles.vocabulary import load_classes
from telemetry.errors import ConfigError


def test_the_boards_that_the_page_names_exist():
    for language in LANGUAGES:
        assert {f"yemai-{language}-device-{name}" for name in load_classes()} <= set(generate(Look(language)))


def test_an_address_that_a_browser_would_run_is_refused(tmp_path):
    config = tmp_path / "center.toml"
    text = (
        'area = "a"\nbroker = {{ host = "h" }}\ndata = {{ url = "http://d" }}\npage = {{ boards = "{}" }}\n'
    )
    config.write_text(text.format("javascript:alert(1)"))
    with pytest.raises(
        ConfigError, match=r"page.boards: 'javascript:alert\(1\)' is no address; like https://grafana"
    ):
        load_config(config)
    config.write_text(text.format("https://g.example/grafana/"))
    assert load_config(config).page.boards == "https://g.example/grafana/"
