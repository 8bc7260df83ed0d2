"""`report.html`: the figures of a run as one self-contained page that opens offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from pipeline.report.figures import Figures

_TEMPLATE = Path(__file__).with_name("page.html.j2")


def render_page(figures: Figures, *, run: dict[str, Any], config: dict[str, Any]) -> str:
    """Fill the page.

    Args:
        figures: what the run reached.
        run: ``run_id``, ``exit_status``, ``output`` and the run's start and end.
        config: what `config.json` holds.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(figures=figures, run=run, config=config)
