"""The dashboard and the alert rules load, and name only series and labels that exist."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from farthing.base.telemetry.series import SPECS

TEMPLATES = files("farthing.templates").joinpath("telemetry")
_SUFFIXES = ("_bucket", "_sum", "_count")
_SERIES = re.compile(r"\bfarthing_[a-z_]+\b")
_BY = re.compile(r"by \(([^)]*)\)\s*\(\s*(?:rate|increase)\(\s*(farthing_[a-z_]+)")
_MATCHERS = re.compile(r"(farthing_[a-z_]+)\{([^}]*)\}")
LABELS = {spec.name: {*spec.labels, "le", "instance"} for spec in SPECS}


def base(name: str) -> str:
    for suffix in _SUFFIXES:
        if name.removesuffix(suffix) in LABELS:
            return name.removesuffix(suffix)
    return name


def dashboard() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(TEMPLATES.joinpath("dashboard.json").read_text())[
        "panels"
    ]
    return panels


def rules() -> list[dict[str, Any]]:
    document = YAML(typ="safe").load(TEMPLATES.joinpath("alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    found = [target["expr"] for panel in dashboard() for target in panel["targets"]]
    return found + [rule["expr"] for rule in rules()]


def test_every_series_named_exists() -> None:
    named = {base(name) for expression in expressions() for name in _SERIES.findall(expression)}
    assert named <= set(LABELS), named - set(LABELS)


def test_every_label_named_exists_on_its_series() -> None:
    for expression in expressions():
        for labels, name in _BY.findall(expression):
            assert {label.strip() for label in labels.split(",")} <= LABELS[base(name)], expression
        for name, matchers in _MATCHERS.findall(expression):
            used = {matcher.partition("=")[0].strip() for matcher in matchers.split(",")}
            assert used <= LABELS[base(name)], expression


def test_the_dashboard_shows_every_series() -> None:
    shown = " ".join(target["expr"] for panel in dashboard() for target in panel["targets"])
    reasoned_out = {
        "farthing_build_info",  # a label on other dashboards
        "farthing_attempt_duration_seconds",  # time to first token says more, per deployment
        "farthing_budget_limit_usd",  # only as the divisor of an alert
        "farthing_budget_alerts_total",  # the alert itself arrives
        "farthing_config_reload_total",  # an alert rule watches it
    }
    missing = {spec.name for spec in SPECS if spec.name not in shown}
    assert missing == reasoned_out


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for rule in rules():
        assert re.fullmatch(r"Farthing[A-Za-z]+", rule["alert"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["action"]


def test_panels_do_not_overlap() -> None:
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard()}
    assert len(places) == len({p["id"] for p in dashboard()}) == len(dashboard())
