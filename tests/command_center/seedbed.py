"""A process that has the centre's modules loaded and forks a centre for each ``start``: a start costs milliseconds.

``python seedbed.py center.toml``; on its input ``start`` and ``kill`` (SIGKILL), each answered by a line.  The centre
forked is the whole one, with its own event loop, database and connections.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from command_center.app import run
from command_center.config import load_config
from telemetry.process import configure_logs


def centre(config):
    try:
        asyncio.run(run(load_config(config), stop=asyncio.Event()))
    finally:
        os._exit(1)  # whatever it was, it is not the seedbed's business


def main():
    configure_logs()
    child = 0
    try:
        for line in sys.stdin:
            if line.strip() == "start":
                child = os.fork()
                if child == 0:
                    centre(Path(sys.argv[1]))
                print("started", flush=True)
            else:
                os.kill(child, signal.SIGKILL)
                _, status = os.waitpid(child, 0)
                child = 0
                print(os.WTERMSIG(status), flush=True)
    finally:
        if child:
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
