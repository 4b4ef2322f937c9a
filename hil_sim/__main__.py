"""The simulator's command line: `python -m hil_sim run | bench | replay-dga | replay-ett | replay-rows | commission`.

Event lines go to standard output, commands come in on standard input, complaints go to standard error.
Exit codes: 0 played to the end, 1 the gateway on the bench was not clean, 78 the scenario, the data or a socket is
wrong.
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

from hil_sim.bench import STATE_DIR, Bench, BenchPlan
from hil_sim.commission import write_commissioning
from hil_sim.control import Simulator, first_to_end
from hil_sim.draw import drawn
from hil_sim.errors import SimError
from hil_sim.lines import Lines
from hil_sim.replay import DgaReplay, EttReplay
from hil_sim.replay_rows import RowsReplay
from hil_sim.scenario import MAX_UNIT_ID, Scenario, SiteEvent, load_scenario

__all__ = ("main",)

EXIT_NOT_CLEAN = 1
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
    _add_bench(commands.add_parser("bench", help="play a scenario for a gateway on another host, and score it"))
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
    rows = commands.add_parser("replay-rows", help="play CSV rows through simulated I/O modules, in step with commands")
    rows.add_argument("csv", type=Path, nargs="+", help="columns AnIn1 to AnIn8; each file is a unit of its own")
    rows.set_defaults(action=lambda options: _play(lambda lines: RowsReplay(lines, options.csv)))
    commission = commands.add_parser("commission", help="write healthy hourly data of one transformer")
    commission.add_argument("--scenario", default="demo")
    commission.add_argument("--asset", required=True)
    commission.add_argument("--days", type=_integer(1, 3650), default=60)
    commission.add_argument("--out", type=Path, required=True)
    commission.set_defaults(action=_commission)
    return parser


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("scenario", metavar="SCENARIO", help="a shipped name (bench-*) or a TOML file")
    bench.add_argument("--bind", required=True, metavar="ADDRESS", help="this host's address on the bench's network")
    bench.add_argument("--out", type=Path, default=Path(), help="folder for blackstart.toml, score.json and score.txt")
    bench.add_argument("--first-port", type=_integer(1, 65_000), default=15_020)
    bench.add_argument("--broker", type=_host_port, metavar="HOST:PORT", help="default: a broker of the bench's own")
    bench.add_argument("--power-cmd", default="", metavar="COMMAND", help="called with `on` or `off` behind it")
    bench.add_argument("--state-dir", default=STATE_DIR, help="where the gateway keeps its state")
    bench.add_argument("--online-within-s", type=_integer(1, 86_400), default=600)
    bench.add_argument("--seed", type=_integer(0, 2**31), help="draw the script from this seed")
    bench.add_argument("--failures", type=_integer(1, 200), default=10, help="how many, with --seed")
    bench.set_defaults(action=_bench)


def _bench(options: argparse.Namespace) -> int:
    scenario = load_scenario(options.scenario)
    if options.seed is not None:
        scenario = drawn(scenario, options.seed, options.failures, power=bool(options.power_cmd))
    _check_bench(scenario, options)
    plan = BenchPlan(
        scenario=scenario,
        bind=options.bind,
        out=options.out,
        first_port=options.first_port,
        broker=options.broker,
        power_cmd=options.power_cmd,
        state_dir=options.state_dir,
        online_within_s=options.online_within_s,
    )

    async def run() -> int:
        result = await Bench(plan).run()
        print(result.as_text())
        return 0 if result.clean else EXIT_NOT_CLEAN

    return asyncio.run(run())


def _check_bench(scenario: Scenario, options: argparse.Namespace) -> None:
    kinds = {event.kind for event in scenario.events if isinstance(event, SiteEvent)}
    if any(event.at_s is None for event in scenario.events):
        raise SimError("on the bench each event needs at_s: nobody gives commands")
    if kinds & {"power_off", "power_on"} and not options.power_cmd:
        raise SimError("this script switches the gateway's power: give --power-cmd")
    if kinds & {"broker_down", "broker_up"} and options.broker:
        raise SimError("this script stops the broker, so that it must be the bench's own: leave --broker out")
    if not options.out.is_dir():
        raise SimError(f"--out {options.out}: no such folder")


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


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, _integer(1, 65_535)(port)


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
