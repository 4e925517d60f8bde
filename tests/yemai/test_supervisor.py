"""Processes come back when they die, stop in reverse order and leave nothing behind."""

import asyncio
import os
import sys
import textwrap
from pathlib import Path

import pytest

from telemetry.errors import Unavailable
from yemai.demo.supervisor import Service, Supervisor

WAITER = textwrap.dedent(
    """
    import pathlib, signal, sys, threading
    here = pathlib.Path(sys.argv[1])
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    with here.open("a") as log: log.write(f"up {sys.argv[2]}\\n")
    done.wait()
    with here.open("a") as log: log.write(f"down {sys.argv[2]}\\n")
    """
)


def waiter(name, diary):
    async def ready():
        return diary.exists() and f"up {name}\n" in diary.read_text()

    return Service(name, [sys.executable, "-c", WAITER, str(diary), name], ready)


async def test_processes_start_in_order_and_stop_in_reverse(tmp_path):
    diary = tmp_path / "diary"
    async with Supervisor([waiter("a", diary), waiter("b", diary)], logs=tmp_path / "logs"):
        assert diary.read_text() == "up a\nup b\n"
    assert diary.read_text() == "up a\nup b\ndown b\ndown a\n"


async def test_a_killed_process_stays_dead_for_as_long_as_told_and_comes_back(tmp_path):
    diary = tmp_path / "diary"
    codes = []
    async with Supervisor(
        [waiter("a", diary)], logs=tmp_path / "logs", on_exit=lambda name, code: codes.append((name, code))
    ) as supervisor:
        await supervisor.kill("a", hold_s=0.2)
        async with asyncio.timeout(10):
            while diary.read_text().count("up a\n") < 2:
                await asyncio.sleep(0.02)
        assert supervisor.starts("a") == 2
    assert codes == [("a", -9)]


async def test_a_process_that_never_serves_is_named_with_its_last_words(tmp_path):
    async def never():
        return False

    service = Service("mute", [sys.executable, "-c", "print('port 1883 is taken')"], never)
    with pytest.raises(Unavailable, match=r"'mute' did not come up .*port 1883 is taken"):
        async with Supervisor([service], logs=tmp_path / "logs", start_s=1.5):
            pass


async def test_children_die_with_a_supervisor_that_is_killed(tmp_path):
    diary = tmp_path / "diary"
    code = textwrap.dedent(
        f"""
        import asyncio, sys
        from yemai.demo.supervisor import Service, Supervisor
        from pathlib import Path
        async def main():
            command = [sys.executable, "-c", {WAITER!r}, {str(diary)!r}, "child"]
            async with Supervisor([Service("child", command)], logs=Path({str(tmp_path / "logs")!r})) as s:
                while s._running["child"].process is None: await asyncio.sleep(0.01)
                print(s._running["child"].process.pid, flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
        """
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    child = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(10):
        while _alive(child):
            await asyncio.sleep(0.02)


def _alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
