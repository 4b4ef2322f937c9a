"""`blackstart metrics`: counters and figures of the running daemon's links and journal in the Prometheus text format.

The answer of the control socket in, text out; `--out FILE` replaces a file in one step, for the textfile collector of
a node exporter.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from drivers.errors import BadInput
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask

__all__ = ("journal_text", "prometheus_text", "register_metrics")

PREFIX = "blackstart_"


def register_metrics(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("metrics")(_metrics)


def _metrics(
    config: ConfigOption = DEFAULT_CONFIG,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what links and journal count, for Prometheus."""
    links = ask(config, "metrics")
    journal = ask(config, "journal_metrics")
    if as_json:
        text = json.dumps({"links": links, "journal": journal}, indent=2) + "\n"
    else:
        text = prometheus_text(links) + journal_text(journal)
    if out is None:
        print(text, end="")
        return
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(out)
    except OSError as err:
        raise BadInput(f"{out}: cannot be written: {err.strerror}") from err


def prometheus_text(links: Mapping[str, Mapping[str, float]]) -> str:
    """One line per link and metric, each metric with its type; names that end in _total only ever grow."""
    lines = []
    for metric in sorted({name for metrics in links.values() for name in metrics}):
        lines.append(_type_of(f"link_{metric}"))
        lines += [
            f'{PREFIX}link_{metric}{{link="{link}"}} {metrics[metric]:.12g}'
            for link, metrics in sorted(links.items())
            if metric in metrics
        ]
    return "\n".join(lines) + "\n"


def journal_text(figures: Mapping[str, float]) -> str:
    """As `prometheus_text`, of the one journal."""
    lines = (
        f"{_type_of(f'journal_{metric}')}\n{PREFIX}journal_{metric} {figures[metric]:.12g}\n"
        for metric in sorted(figures)
    )
    return "".join(lines)


def _type_of(metric: str) -> str:
    return f"# TYPE {PREFIX}{metric} {'counter' if metric.endswith('_total') else 'gauge'}"
