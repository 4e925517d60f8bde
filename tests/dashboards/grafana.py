"""What Grafana does with a board: finds its queries, fills in its variables, asks the data source."""

import json
import math
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass

INTERVAL_S = 60


@dataclass(frozen=True)
class Asked:
    """One target of one panel."""

    panel: dict
    target: dict

    def __str__(self):
        return (
            f"{self.panel['title']} {self.target['refId']}: {self.target.get('query') or self.target['expr']}"
        )


def panels(board):
    for panel in board["panels"]:
        yield from panel.get("panels", ())
        if panel["type"] != "row":
            yield panel


def targets(board, kind):
    return [
        Asked(panel, target)
        for panel in panels(board)
        for target in panel["targets"]
        if target["datasource"]["type"] == kind
    ]


def influxql(text, span, chosen, interval_s=INTERVAL_S):
    """Fill in ``$timeFilter``, ``$__interval`` and ``${variable:regex}``; what is not chosen is All."""
    first, last = span
    text = text.replace("$timeFilter", f"time >= {first}ms AND time <= {last}ms")
    text = text.replace("$__interval", f"{interval_s}s")
    return re.sub(r"\$\{(\w+):regex\}", lambda found: _regex(chosen.get(found[1])), text)


def _regex(values):
    if values is None:
        return ".*"
    return f"({'|'.join(map(re.escape, values))})" if len(values) > 1 else re.escape(values[0])


class Answer:
    """What ``/query`` answers."""

    def __init__(self, told):
        result = told["results"][0]
        assert "error" not in result, result
        self.series = result.get("series", [])

    def columns(self):
        return {column for series in self.series for column in series["columns"]}

    def values(self, column=1):
        return [row[column] for series in self.series for row in series["values"] if row[column] is not None]

    def longest(self):
        return max((len(series["values"]) for series in self.series), default=0)


def ask_influx(url, database, query):
    fields = urllib.parse.urlencode({"db": database, "q": query, "epoch": "ms"})
    with urllib.request.urlopen(f"{url}/query?{fields}", timeout=20) as answer:
        return Answer(json.load(answer))


def ask_prometheus(url, expression, span):
    expression = expression.replace("$__rate_interval", "2m").replace("$__interval", f"{INTERVAL_S}s")
    first, last = (moment / 1000 for moment in span)
    fields = urllib.parse.urlencode({"query": expression, "start": first, "end": last, "step": INTERVAL_S})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{fields}", timeout=20) as answer:
        told = json.load(answer)
    assert told["status"] == "success", told
    return told["data"]["result"]


def intervals(span, interval_s=INTERVAL_S):
    return math.ceil((span[1] - span[0]) / 1000 / interval_s) + 1
