"""Field I/O: what a point costs us, a bare loop, and a peer; how fast; how late; how it grows.

    python -m benchmarks.io [--rounds 5] [--quick]        (make bench-io)

Devices, clients, daemon, broker and peer are processes of their own, so that the CPU of one is never counted as
another's.  The variants take turns within a round; figures are medians over the rounds with their spread.  Progress
goes to standard error; the whole report is kept under `benchmarks/results/`, and the last line of standard output is
`BENCH` and the figures by name:

cpu_per_point_vs_bare_modbus, cpu_per_point_vs_bare_opcua   ours / a bare pymodbus or asyncua loop (bounds 3, 1.5)
cpu_per_point_vs_thingsboard                                theirs / ours, both forwarding every value (bound 5)
points_per_s_one_core                                       client pinned to one core, wall clock (bound 10,000)
latency_p99_s                                               registers change -> PUBACK, real daemon, 1 s polls
rss_mb                                                      daemon without the core, 1,000 points a second (bound 200)
"""

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.field_io import thingsboard
from benchmarks.field_io.listener import Listener, PubackClock
from benchmarks.field_io.processes import (
    client,
    cpu_s,
    daemon,
    daemon_config,
    devices,
    ended,
    find_mosquitto,
    mosquitto,
    python,
    rss_mb,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
UNITS = 100  # gas monitors of ten points: 1,000 points
START_S = 60.0
Report = dict[str, Any]


def say(text: str) -> None:
    """Progress."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def summary(values: Sequence[float], digits: int = 3) -> Report:
    """Median and spread."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "rounds": len(values),
    }


def fdatasync_p50_ms(folder: Path) -> float:
    """How fast this disk is, for whoever compares machines."""
    times = []
    with (folder / "probe").open("wb") as file:
        for _ in range(100):
            file.write(os.urandom(512))
            file.flush()
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    return round(statistics.median(times) * 1e3, 3)


def drivers(rounds: int) -> Report:
    """CPU per point of our sources and of bare loops, microseconds, same devices."""
    micros: dict[str, list[float]] = {}
    with (
        devices("modbus", "--units", UNITS) as (modbus, _),
        devices("opcua", "--variables", 1000, "--period-s", 0.5) as (opcua, _),
    ):
        jobs: list[Report] = [
            {"kind": kind, "ports": modbus["ports"], "units": UNITS, "polls": 40}
            for kind in ("ours_modbus", "bare_modbus", "raw_sockets")
        ]
        jobs += [
            {"kind": kind, "urls": opcua["urls"], "variables": 1000, "polls": 12, "period_s": 0.5}
            for kind in ("ours_opcua", "bare_opcua_subscription", "bare_opcua_poll")
        ]
        for number in range(rounds):
            for job in jobs:
                result = client(**job)
                assert result["good"] == result["points"], f"{job['kind']}: a healthy device gave {result}"
                micros.setdefault(job["kind"], []).append(result["cpu_s"] / result["points"] * 1e6)
            say(f"round {number + 1}/{rounds}: " + ", ".join(f"{k} {v[-1]:.1f} us" for k, v in micros.items()))

    def ratios(ours: str, theirs: str) -> Report:
        return summary([a / b for a, b in zip(micros[ours], micros[theirs], strict=True)])

    return {
        "cpu_us_per_point": {kind: summary(values, 2) for kind, values in micros.items()},
        "modbus_to_bare": ratios("ours_modbus", "bare_modbus"),
        "modbus_to_raw_sockets": ratios("ours_modbus", "raw_sockets"),
        "opcua_to_bare_subscription": ratios("ours_opcua", "bare_opcua_subscription"),
        "opcua_to_bare_poll": ratios("ours_opcua", "bare_opcua_poll"),
    }


def throughput(rounds: int) -> Report:
    """Points a second of `ModbusSource` flat out on ten links, pinned to the last core; the devices use the others."""
    rates, shares = [], []
    core = max(os.sched_getaffinity(0))
    with devices("modbus", "--servers", 5, "--units", UNITS) as (first, _):
        for _ in range(rounds):
            result = client(kind="ours_modbus", ports=first["ports"], units=UNITS, polls=15, core=core)
            rates.append(result["points"] / result["wall_s"])
            shares.append(result["cpu_s"] / result["wall_s"])
    say(f"flat out on one core: {rates}")
    return {"points_per_s": summary(rates, 0), "cpu_share_of_the_core": summary(shares, 2)}


def growth(seconds: int, rounds: int) -> Report:
    """Polls of 1 s as points and devices grow; each link behind its own `Poller`; ten devices of each set dead."""
    found: Report = {"points": {}, "devices": {}}
    for points in (100, 1000, 10_000):
        servers, units = max(1, points // 1000), min(100, points // 10)
        with devices("modbus", "--servers", servers, "--units", units) as (ready, _):
            found["points"][points] = _polled(ready, units, seconds, rounds)
        say(f"{points} points: {found['points'][points]}")
    for live in (1, 10, 100):
        with devices("modbus", "--servers", live, "--units", 1, "--dead", 10) as (ready, _):
            found["devices"][live] = _polled(ready, 1, seconds, rounds) | {"dead": 10}
        say(f"{live} live devices, 10 dead: {found['devices'][live]}")
    return found


def _polled(ready: Report, units: int, seconds: int, rounds: int) -> Report:
    results = [
        client(
            kind="pollers",
            ports=ready["ports"],
            dead_ports=ready["dead_ports"],
            units=units,
            period_s=1.0,
            seconds=seconds,
        )
        for _ in range(rounds)
    ]
    return {
        "cpu_us_per_point": summary([r["cpu_s"] / r["points"] * 1e6 for r in results], 1),
        "points_per_s": summary([r["points"] / r["wall_s"] for r in results], 0),
        "slowest_live_link_polls_of_expected": summary([r["slowest_link_rate"] for r in results], 2),
        "skipped_ticks": max(r["skipped_ticks"] for r in results),
        "rss_mb": summary([r["rss_mb"] for r in results], 0),
    }


def peer(rounds: int, window_s: float) -> Report:
    """Three gateways read the same 1,000 points each second at the same time; CPU of each process per value.

    `ours_forwarding` publishes every value at QoS 1 as the peer does; `ours_daemon` is the whole daemon without the
    core: it judges and stores every value and publishes alarms.
    """
    program = thingsboard.find(ROOT)
    if program is None or find_mosquitto() is None:
        return {"skipped": "needs .venv-thingsboard (make bench-io makes it) and mosquitto (make peers)"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "peer").mkdir()
        with (
            mosquitto(folder) as mqtt_port,
            devices("modbus", "--units", UNITS) as (ready, _),
            Listener(mqtt_port, thingsboard.TELEMETRY_TOPIC) as theirs,
            Listener(mqtt_port, "bench/telemetry/#") as forwarded,
        ):
            job = {"kind": "telemetry", "ports": ready["ports"], "units": UNITS, "mqtt_port": mqtt_port}
            job |= {"period_s": 1.0, "seconds": 3600}
            config = daemon_config(folder, ready["ports"], UNITS, mqtt_port, kind="gas")
            command = python("benchmarks.field_io.clients")
            with (
                thingsboard.gateway(program, folder / "peer", ready["ports"], UNITS, mqtt_port) as gateway,
                daemon(config) as own,
                ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)) as ours,
            ):
                assert ours.stdin is not None
                ours.stdin.write(json.dumps(job) + "\n")
                ours.stdin.flush()
                processes = {"thingsboard": gateway, "ours_forwarding": ours, "ours_daemon": own}
                counters: dict[str, Callable[[], int]] = {
                    "thingsboard": lambda: theirs.values,
                    "ours_forwarding": lambda: forwarded.values,
                }
                _until(lambda: theirs.values > 3000 and forwarded.values > 3000)
                micros, rates, memory = _windows(processes, counters, rounds, window_s, UNITS * 10)
    say(f"peer: {micros}")
    ratio = {k: [t / o for t, o in zip(micros["thingsboard"], micros[k], strict=True)] for k in micros}
    return {
        "thingsboard": thingsboard.version(program),
        "cpu_us_per_value": {kind: summary(values, 1) for kind, values in micros.items()},
        "values_per_s": {kind: summary(values, 0) for kind, values in rates.items()},
        "rss_mb": {kind: round(value, 1) for kind, value in memory.items()},
        "thingsboard_to_ours_forwarding": summary(ratio["ours_forwarding"], 2),
        "thingsboard_to_ours_daemon": summary(ratio["ours_daemon"], 2),
    }


def _windows(
    processes: dict[str, Any], counters: dict[str, Callable[[], int]], rounds: int, window_s: float, points: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, float]]:
    micros: dict[str, list[float]] = {kind: [] for kind in processes}
    rates: dict[str, list[float]] = {kind: [] for kind in processes}
    time.sleep(10)  # the daemon's start is behind it
    for _ in range(rounds):
        begin = time.monotonic()
        before = {kind: (cpu_s(p.pid), counters[kind]() if kind in counters else 0) for kind, p in processes.items()}
        time.sleep(window_s)
        passed_s = time.monotonic() - begin
        for kind, process in processes.items():
            assert process.poll() is None, f"{kind} has ended"
            used_s = cpu_s(process.pid) - before[kind][0]
            # The daemon forwards nothing that could be counted; its poller reads every point once a second.
            values = counters[kind]() - before[kind][1] if kind in counters else round(points * passed_s)
            micros[kind].append(used_s / values * 1e6)
            rates[kind].append(values / passed_s)
    return micros, rates, {kind: rss_mb(process.pid) for kind, process in processes.items()}


def _until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + START_S
    while not reached():
        assert time.monotonic() < until, "a gateway forwards nothing"
        time.sleep(0.1)


def latency(alarms: int, gap_s: float) -> Report:
    """Breakers lose their gas one by one; from the registers that show it to the broker's PUBACK of the alarm."""
    if find_mosquitto() is None:
        return {"skipped": "needs mosquitto (make peers)"}
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ("modbus", "--servers", 2, "--units", alarms // 2, "--asset-kind", "sf6")
        with mosquitto(folder) as port, devices(*arguments) as (ready, process), PubackClock(port) as puback:
            config = daemon_config(folder, ready["ports"], alarms // 2, puback.port, kind="sf6")
            with daemon(config) as own:
                _until(lambda: bool(puback.acknowledged))  # it has said that it is online
                time.sleep(5)
                changed: dict[str, int] = {}
                for number in rng.sample(range(alarms), alarms):
                    process.stdin.write(json.dumps({"leak": number}) + "\n")
                    process.stdin.flush()
                    answer = json.loads(process.stdout.readline())
                    changed[f"A{answer['unit']}"] = answer["monotonic_ns"]
                    time.sleep(rng.uniform(0.5, 1.5) * gap_s)
                time.sleep(5)
                memory = rss_mb(own.pid)
            found = _first_pubacks(puback.acknowledged)
    late = sorted((found[asset] - at_ns) / 1e9 for asset, at_ns in changed.items() if asset in found)
    say(f"latency over {len(late)} alarms: p50 {late[len(late) // 2]:.2f} s, most {late[-1]:.2f} s")
    return {
        "alarms": len(late),
        "lost": alarms - len(late),
        "p50_s": round(statistics.median(late), 3),
        "p99_s": round(late[min(len(late) - 1, int(0.99 * len(late)))], 3),
        "most_s": round(late[-1], 3),
        "poll_period_s": 1.0,
        "rss_mb": round(memory, 1),
    }


def _first_pubacks(acknowledged: Sequence[tuple[int, bytes]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for at_ns, content in acknowledged:
        asset = re.search(rb'"asset_id":"(A\d+)"', content)
        if asset is not None and b'"definition":"GasDensityLow"' in content:
            found.setdefault(asset[1].decode(), at_ns)
    return found


def main() -> None:
    """Run everything and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time: does it run at all?")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    scale = 0.3 if options.quick else 1.0
    with tempfile.TemporaryDirectory() as folder:
        flush_ms = fdatasync_p50_ms(Path(folder))
    report: Report = {
        "benchmark": "io",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": _cpu_name(), "cores": os.cpu_count(), "system": platform.platform()},
        "load_at_start": os.getloadavg(),
        "versions": {name: version(name) for name in ("pymodbus", "asyncua", "aiomqtt")}
        | {"python": platform.python_version()},
        "fdatasync_p50_ms": flush_ms,
    }
    report["drivers"] = drivers(rounds)
    report["throughput"] = throughput(rounds)
    report["peer"] = peer(rounds, 10 * scale)
    report["latency"] = latency(int(200 * scale), 0.3)
    report["growth"] = growth(3 if options.quick else 8, 1 if options.quick else 3)
    bench = {
        "cpu_per_point_vs_bare_modbus": report["drivers"]["modbus_to_bare"]["median"],
        "cpu_per_point_vs_bare_opcua": report["drivers"]["opcua_to_bare_subscription"]["median"],
        "cpu_per_point_vs_thingsboard": report["peer"].get("thingsboard_to_ours_forwarding", {}).get("median"),
        "points_per_s_one_core": report["throughput"]["points_per_s"]["median"],
        "latency_p99_s": report["latency"].get("p99_s"),
        "rss_mb": report["peer"].get("rss_mb", {}).get("ours_daemon"),
    }
    report["bench"] = bench
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / ("io-quick.json" if options.quick else "io.json")
    path.write_text(json.dumps(report, indent=2) + "\n")
    say(f"kept in {path.relative_to(ROOT)}")
    print(f"BENCH {json.dumps(bench)}")


def _cpu_name() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    main()
