"""How a daemon starts, refuses to start, and stops: exit codes, words, traces on disk and at the broker."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXIT_CONFIG = 78
STOP_S = 15.0  # draining has 5 s, the journal's last checkpoint some more on a slow disk
RSS_MIB_MAX = 200

WRONG = """
[gateway]
id = "gw-wrong"
state_dir = "{state_dir}"
time_faktor = 2.0

[mqtt]
host = "127.0.0.1"
port = 99999
client_id = "gw-wrong"

[[asset]]
id = "T1"
kind = "PowerTransformer"

[[asset]]
id = "T1"
kind = "Toaster"

[[link]]
protocol = "modbus_tcp"
name = "monitor"
[[link.devices]]
name = "monitor"
asset = "T9"
template = "vaisala-opt100"
"""
ERRORS = ("gateway.time_faktor", "mqtt.port", "asset.1.kind", "asset.1.id", "link.0", "link.0.devices.0.asset")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(start_site: Any, quick: Any) -> AsyncIterator[Any]:
    async with start_site("demo", configure=quick) as running:
        yield running


async def test_a_wrong_configuration_is_refused_with_every_error_and_leaves_no_trace(
    tmp_path: Path, blackstart: Any
) -> None:
    config, state_dir = tmp_path / "wrong.toml", tmp_path / "state"
    config.write_text(WRONG.format(state_dir=state_dir))
    code, output, complaints = await blackstart("run", "--config", str(config))
    assert (code, output) == (EXIT_CONFIG, "")
    lines = [line.split(": ") for line in complaints.splitlines()[1:]]
    assert {line[0].strip() for line in lines} == {str(config)}
    assert sorted(line[1] for line in lines) == sorted(ERRORS)
    assert not state_dir.exists()


async def test_the_first_poll_comes_at_once_and_the_daemon_stays_small(site: Any, tell: Any) -> None:
    started = time.monotonic()
    await site.daemon.start()
    status = await site.status_when(lambda status: all(link["polls"] for link in status["links"]))
    polled_s = time.monotonic() - started
    await site.all_good()
    rss_mib = _rss_mib(site.pid)
    tell(
        f"all {len(status['links'])} links polled {polled_s:.2f} s after the start; RSS {rss_mib:.0f} MiB without core"
    )
    assert rss_mib < RSS_MIB_MAX


async def test_a_second_daemon_on_the_same_state_is_refused_in_words(site: Any, blackstart: Any) -> None:
    await site.ensure_daemon()
    await site.all_good()
    code, _, complaints = await blackstart("run", "--config", str(site.config))
    assert code not in (0, -9)
    assert "Traceback" not in complaints
    assert str(site.state_dir) in complaints
    before = await site.ask("status")
    await site.status_when(lambda status: status["measurements"]["T1/dga"] > before["measurements"]["T1/dga"])


async def test_a_daemon_that_dies_is_said_to_be_offline_by_the_broker(site: Any) -> None:
    await site.ensure_daemon()
    await site.told(online=True)
    await site.kill_daemon()
    await site.told(online=False)


async def test_a_stop_is_clean_bounded_and_said(site: Any) -> None:
    await site.ensure_daemon()
    await site.all_good()
    await site.told(online=True)
    started = time.monotonic()
    assert await site.daemon.stop() == 0
    assert time.monotonic() - started < STOP_S
    await site.told(online=False)
    assert not (site.state_dir / "control.sock").exists()
    assert "Traceback" not in site.log_tail()
    await site.listen()
    await site.told(online=False)  # retained: who comes later is told as well


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
