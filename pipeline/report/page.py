"""`report.html`: one self-contained page that opens offline."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import jinja2
from markupsafe import Markup

from model.video.overlay import PALETTE
from pipeline.report.figures import Figures
from pipeline.report.sheet import ShownClip

UNKNOWN = "–"
_LIGHTNESS = {"light": (0.0, 0.42), "dark": (0.45, 1.0)}
"""Least and most lightness of an object's colour on the page."""
_OPTIONS = (
    "manifest", "stride", "rotated_box", "preset", "decoder", "precision", "max_corrupt", "clips_per_file", "limit",
    "retry_failed",
    "replace_changed",
)  # fmt: skip


def render_page(figures: Figures, shown: Sequence[ShownClip], *, run: dict[str, Any], config: dict[str, Any]) -> str:
    """Fill the page.

    Args:
        figures: what the output holds and what the run reached.
        shown: the gallery.
        run: ``run_id``, ``exit_status``, ``replaced``, ``output``, ``started_at`` and ``finished_at``, the last two in
            ISO 8601.
        config: what `config.json` holds.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count,
        "decimal": decimal,
        "percent": percent,
        "duration": duration,
        "instant": instant,
        # Only what this package drew itself, or wrote, goes into the page as it is.
        "drawn": Markup,
    }
    return environment.get_template("page.html.j2").render(
        figures=figures,
        shown=shown,
        run=run,
        config=config,
        settings=_settings(config),
        config_text=json.dumps(config, indent=2, ensure_ascii=False),
        object_colours={mode: _object_colours(*limits) for mode, limits in _LIGHTNESS.items()},
        unknown=UNKNOWN,
    )


def _settings(config: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What a reader looks up of a configuration, by title; the whole of it is below."""
    weights, options = config["weights"], config["options"]
    groups: dict[str, dict[str, Any]] = {
        "Weights": {
            "name": weights["name"],
            "network": weights["network"].get("backbone"),
            "layout": weights["layout"],
            "sha256": weights["sha256"][:16],
            "licence": weights.get("licence"),
        },
        "Run": {name.replace("_", " "): options.get(name) for name in _OPTIONS},
        "Placement": {name.replace("_", " "): value for name, value in config["placement"].items()},
        "Versions": config["versions"],
    }
    return [(title, [(k, _text(v)) for k, v in items.items() if v is not None]) for title, items in groups.items()]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(str, dict.fromkeys(value)))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _object_colours(least: float, most: float) -> str:
    """The overlay's colours as CSS variables, made dark or light enough to be seen as lines on the page."""
    variables = []
    for i, colour in enumerate(PALETTE):
        hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in colour))
        seen = colorsys.hls_to_rgb(hue, min(max(lightness, least), most), saturation)
        variables.append(f"--object-{i}: rgb({' '.join(str(round(255 * value)) for value in seen)});")
    return " ".join(variables)


def count(value: int | None) -> str:
    """A whole number with its thousands apart.

    >>> count(12345)
    '12,345'
    """
    return UNKNOWN if value is None else f"{value:,}"


def decimal(value: float | None) -> str:
    """Three digits that matter.

    >>> decimal(1234.56), decimal(12.345), decimal(0.01234), decimal(0)
    ('1,235', '12.3', '0.0123', '0')
    """
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share of one.

    >>> percent(0.5), percent(0.004), percent(0.9996)
    ('50%', '0.4%', '99.9%')
    """
    if value is None:
        return UNKNOWN
    if 0 < value < 0.1:
        return f"{max(0.001, value):.1%}"
    return f"{min(value, 0.999):.1%}" if 0.99 < value < 1 else f"{value:.0%}"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units.

    >>> duration(0.25), duration(9.71), duration(75), duration(7300)
    ('0.25 s', '9.7 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 59.5:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = timedelta(seconds=round(seconds))
    hours, minutes = whole.days * 24 + whole.seconds // 3600, whole.seconds // 60 % 60
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {whole.seconds % 60} s"


def instant(text: str | None) -> str:
    """A point in time from ISO 8601, as a reader writes it.

    >>> instant("2026-05-04T10:20:30+00:00")
    '2026-05-04 10:20:30 UTC'
    """
    if text is None:
        return UNKNOWN
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
