"""The simulator's command line: `python -m hil_sim run | replay-dga | replay-ett | commission`.

Event lines go to standard output, commands come in on standard input, complaints go to standard error.
Exit codes: 0 played to the end, 78 the scenario, the data or a socket is wrong.
"""

import argparse
import asyncio
import math
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from hil_sim.commission import write_commissioning
from hil_sim.control import Simulator, first_to_end
from hil_sim.errors import SimError
from hil_sim.lines import Lines
from hil_sim.replay import DgaReplay, EttReplay
from hil_sim.scenario import MAX_UNIT_ID, load_scenario

__all__ = ("main",)

EXIT_MISCONFIGURED = 78  # EX_CONFIG of sysexits.h
MIN_CYCLE_S = 0.02  # below, a client cannot see each cycle


class Player(Protocol):
    """Something that plays until it ends."""

    async def run(self) -> None:
        """Play."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.action(options))
    except SimError as err:
        print(err, file=sys.stderr)
        return EXIT_MISCONFIGURED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hil_sim", description="A simulated substation on loopback.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="play a scenario")
    run.add_argument("--scenario", required=True, help="a shipped name (demo, plateaus) or a TOML file")
    run.add_argument("--broker", action="store_true", help="also run an MQTT 5 broker")
    run.add_argument("--ready-file", type=Path, help="write the ready line to this file as well")
    run.set_defaults(action=_run)
    dga = commands.add_parser("replay-dga", help="play rows of a dissolved-gas CSV through simulated gas monitors")
    dga.add_argument("--csv", type=Path, required=True, help="columns H2, CH4, C2H6, C2H4, C2H2 in uL/L")
    dga.add_argument("--rows", type=_integer(1, 1_000_000), required=True)
    dga.add_argument("--seed", type=int, required=True)
    dga.add_argument("--units", type=_integer(1, MAX_UNIT_ID), default=100, help="rows played at a time")
    dga.add_argument("--cycle-s", type=_cycle_s, default=0.2, help="real seconds per device cycle")
    dga.set_defaults(action=_replay_dga)
    ett = commands.add_parser("replay-ett", help="play hours of an oil-temperature CSV through the OPC UA server")
    ett.add_argument("--csv", type=Path, required=True, help="columns OT (degC) and HUFL (load)")
    ett.add_argument("--hours", type=_integer(1, 1_000_000), required=True)
    ett.add_argument("--start", type=_integer(0, 1_000_000), default=0, help="0-based first data row")
    ett.add_argument("--cycle-s", type=_cycle_s, default=0.2, help="real seconds per hour of data")
    ett.add_argument("--wait", action="store_true", help='hold the first hour until {"cmd":"next"}')
    ett.set_defaults(action=_replay_ett)
    commission = commands.add_parser("commission", help="write healthy hourly data of one transformer")
    commission.add_argument("--scenario", default="demo")
    commission.add_argument("--asset", required=True)
    commission.add_argument("--days", type=_integer(1, 3650), default=60)
    commission.add_argument("--out", type=Path, required=True)
    commission.set_defaults(action=_commission)
    return parser


def _run(options: argparse.Namespace) -> int:
    scenario = load_scenario(options.scenario)
    return _play(
        lambda lines: Simulator(scenario, lines, now=_now, with_broker=options.broker, ready_file=options.ready_file)
    )


def _replay_dga(options: argparse.Namespace) -> int:
    return _play(
        lambda lines: DgaReplay(
            lines, options.csv, rows=options.rows, seed=options.seed, units=options.units, cycle_s=options.cycle_s
        )
    )


def _replay_ett(options: argparse.Namespace) -> int:
    return _play(
        lambda lines: EttReplay(
            lines,
            options.csv,
            _now,
            hours=options.hours,
            start=options.start,
            cycle_s=options.cycle_s,
            wait=options.wait,
        )
    )


def _commission(options: argparse.Namespace) -> int:
    rows = write_commissioning(load_scenario(options.scenario), options.asset, options.out, days=options.days)
    print(f"{options.out}: {rows} hourly rows")
    return 0


def _play(build: Callable[[Lines], Player]) -> int:
    asyncio.run(_play_until_signal(build))
    return 0


async def _play_until_signal(build: Callable[[Lines], Player]) -> None:
    lines = Lines()
    player = build(lines)
    lines.open()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    try:
        await first_to_end(player.run(), asked_to_stop.wait())
    finally:
        await lines.close()


def _now() -> datetime:
    return datetime.now(UTC)


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not within {low} and {high}")
        return number

    return parse


def _cycle_s(text: str) -> float:
    number = float(text)
    if not MIN_CYCLE_S <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} s is not a cycle of at least {MIN_CYCLE_S} s")
    return number


if __name__ == "__main__":
    sys.exit(main())
