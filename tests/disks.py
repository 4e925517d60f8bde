"""A small disk of its own that a test may fill, or freeze so that whoever syncs a file waits; for root only."""

import contextlib
import os
import subprocess
from pathlib import Path

_THAWED_S = 30  # by itself, so that nothing waits for ever for a test that has died


class Disk:
    """An ext4 file system in a file, mounted at ``path``."""

    def __init__(self, folder, megabytes):
        self.path, self._image, self._thaw = folder / "disk", folder / "disk.img", None
        self.path.mkdir()
        self._filler = self.path / "filler"
        with self._image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", self._image)
        _run("mount", "-o", "loop", self._image, self.path)

    def fill(self):
        """Leave no room at all."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
            os.fsync(file.fileno())

    def free(self):
        """Give the room back."""
        self._filler.unlink()

    def freeze(self):
        """Let everybody wait who writes."""
        self._thaw = subprocess.Popen(["sh", "-c", f'sleep {_THAWED_S}; fsfreeze -u "{self.path}"'])
        _run("fsfreeze", "-f", self.path)

    def thaw(self):
        """Let them go on."""
        if self._thaw is not None:
            subprocess.run(["fsfreeze", "-u", self.path], check=False)
            self._thaw.kill()
            self._thaw.wait()
            self._thaw = None

    def remove(self):
        self.thaw()
        _run("umount", "-l", self.path)
        self._image.unlink()


def waits_for_its_disk(pid):
    """Whether any thread of a process is held up by a disk."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            told = Path(f"/proc/{pid}/task/{task}/stat").read_text()
            if told.rpartition(")")[2].split()[0] == "D":
                return True
    return False


def _run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
