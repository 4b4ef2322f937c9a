"""`blackstart runs …`: look at durable runs and take them further, through the daemon's control socket."""

import getpass
import json
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from drivers.errors import BadInput
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask, print_json, print_table

__all__ = ("runs_app",)

TAIL_LOOK_S = 1.0
OVER = ("DONE", "FAILED", "CANCELLED")

runs_app = typer.Typer(help="Durable runs: investigations and consolidations.", no_args_is_help=True)
RunArgument = Annotated[str, typer.Argument(help="As shown by `blackstart runs list`.")]
ByOption = Annotated[str, typer.Option(help="Who says so; kept in the journal.", default_factory=getpass.getuser)]


@runs_app.command("list")
def runs_list(
    config: ConfigOption = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Newest runs to show.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Runs, newest first."""
    rows = ask(config, "runs", limit=limit)
    if as_json:
        print_json(rows)
        return
    print_table("runs", rows, ["run_id", "workflow", "state", "steps_done", "started"])


@runs_app.command("show")
def runs_show(run_id: RunArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """One run as the tree of its branches and steps, with durations and outcomes."""
    row = ask(config, "run", run_id=run_id)
    if as_json:
        print_json(row)
        return
    Console().print(_tree(row))


@runs_app.command("tree", hidden=True)
def runs_tree(run_id: RunArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """As `show`."""
    runs_show(run_id, config, as_json)


@runs_app.command("tail")
def runs_tail(run_id: RunArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """The rows of a run as they come, until it is over."""
    seq = 0
    while True:
        over = ask(config, "run", run_id=run_id)["state"] in OVER
        while rows := ask(config, "run_rows", run_id=run_id, after_seq=seq):
            for row in rows:
                print(json.dumps(row) if as_json else f"{row['seq']:>8} {row['wall']} {row['kind']:<18} {row['key']}")
            seq = rows[-1]["seq"]
        if over:
            return
        time.sleep(TAIL_LOOK_S)


@runs_app.command("diff")
def runs_diff(
    run_id: RunArgument, other: RunArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Steps that two runs do not share, or that ended otherwise."""
    left, right = (_outcomes(ask(config, "run", run_id=one)) for one in (run_id, other))
    keys = [*left, *(key for key in right if key not in left)]
    rows = [
        {"key": key, "first": left.get(key, "-"), "second": right.get(key, "-")}
        for key in keys
        if left.get(key) != right.get(key)
    ]
    if as_json:
        print_json(rows)
        return
    print_table("differences", rows, ["key", "first", "second"])


@runs_app.command("retry")
def runs_retry(
    run_id: RunArgument, by: ByOption, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Do the failed steps of a run again, and what depends on them; all else keeps its outcome."""
    _say(ask(config, "run_retry", run_id=run_id, by=by), as_json)


@runs_app.command("fork")
def runs_fork(
    run_id: RunArgument,
    at: Annotated[str, typer.Argument(help="Key of the step from which on the new run goes its own way.")],
    by: ByOption,
    override: Annotated[str, typer.Option(help="JSON: step keys and the values they shall have had.")] = "{}",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Start a run that shares the past of another."""
    try:
        values = json.loads(override)
    except ValueError as err:
        raise BadInput(f"--override is no JSON: {err}") from err
    _say(ask(config, "run_fork", run_id=run_id, at=at, override=values, by=by), as_json)


@runs_app.command("rewind")
def runs_rewind(
    run_id: RunArgument,
    to: Annotated[str, typer.Argument(help="Key of the step to go back to.")],
    by: ByOption,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take back the outcome of a step and all behind it; nothing sent is unsent."""
    _say(ask(config, "run_rewind", run_id=run_id, to=to, by=by), as_json)


@runs_app.command("cancel")
def runs_cancel(
    run_id: RunArgument,
    by: ByOption,
    reason: Annotated[str, typer.Option(help="Kept in the journal.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """End a run; it cleans up first."""
    _say(ask(config, "run_cancel", run_id=run_id, by=by, reason=reason), as_json)


@runs_app.command("check")
def runs_check(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Open runs that the daemon's code cannot take further; exit code 1 where there is one."""
    rows = ask(config, "runs_check")
    if as_json:
        print_json(rows)
    else:
        print_table("incompatible runs", rows, ["run_id", "workflow", "reason"])
    raise typer.Exit(int(bool(rows)))


@runs_app.command("confirm-clock")
def runs_confirm_clock(by: ByOption, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Say that the wall clock is right. After a step of over a minute deadlines do not go by it until then."""
    _say(ask(config, "clock_confirm", by=by), as_json)


def _say(answer: str, as_json: bool) -> None:
    print_json({"result": answer}) if as_json else print(answer)


def _outcomes(run: dict[str, Any]) -> dict[str, str]:
    return {step["key"]: f"{step['state']} {step['error']}".strip() for step in run["steps"]}


def _tree(run: dict[str, Any]) -> Tree:
    error = f": {run['error']}" if run["error"] else ""
    root = Tree(escape(f"{run['run_id']} {run['workflow']} {run['state']}{error}"), highlight=False)
    nodes = {"": root}
    for step in run["steps"]:
        parts = step["key"].split("/")
        for depth in range(1, len(parts)):
            path = "/".join(parts[:depth])
            if path not in nodes:
                nodes[path] = nodes["/".join(parts[: depth - 1])].add(escape(parts[depth - 1]))
        took = "" if step["took_s"] is None else f" {step['took_s']:.3f} s"
        again = f" ({step['attempts']} attempts)" if step["attempts"] > 1 else ""
        voided = f" (taken back {step['voided']} times)" if step["voided"] else ""
        trouble = f" {step['error']}" if step["error"] else ""
        nodes["/".join(parts[:-1])].add(escape(f"{parts[-1]} {step['state']}{took}{again}{voided}{trouble}"))
    return root
