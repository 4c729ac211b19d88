"""Who a process is: a pid means something only with its start time, its boot and its pid namespace. Spec: SUP 3.1, 3.2.

Cheap to import: clients ask this without paying for `subprocess`.
"""

from __future__ import annotations

import enum
import functools
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

_LINUX = sys.platform.startswith("linux")


class Alive(enum.Enum):
    """What is known about a recorded process. UNKNOWN never means dead."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Host(NamedTuple):
    """Where this process runs. `boot_id` is None where it cannot be read; `pid_namespace` is "0" off Linux."""

    host_id: str
    boot_id: str | None
    pid_namespace: str
    hostname: str
    uid: int


class Identity(NamedTuple):
    """One process, for good. `start_time` is opaque text, None when it could not be read."""

    pid: int
    start_time: str | None
    boot_id: str | None
    host_id: str | None = None
    pid_namespace: str | None = None
    uid: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "pid": self.pid,
            "startTime": self.start_time,
            "bootId": self.boot_id,
            "hostId": self.host_id,
            "pidNs": self.pid_namespace,
            "uid": self.uid,
        }

    @classmethod
    def from_json(cls, value: object) -> Identity | None:
        """None when the value names no process."""
        if not isinstance(value, dict):
            return None
        pid, uid = value.get("pid"), value.get("uid")
        if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
            return None
        texts = [value.get(key) for key in ("startTime", "bootId", "hostId", "pidNs")]
        start, boot, host, namespace = (text if isinstance(text, str) and text else None for text in texts)
        return cls(pid, start, boot, host, namespace, uid if isinstance(uid, int) else None)


@functools.cache
def this_host() -> Host:
    """The host context (SUP 3.1), read once."""
    hostname = os.uname().nodename
    machine = _first_line("/etc/machine-id") or _first_line("/var/lib/dbus/machine-id") or _sysctl("kern.uuid")
    host_id = _sha256_hex((machine or hostname).encode())[:16]
    try:
        namespace = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        namespace = "0"
    return Host(host_id, boot_id(), namespace, hostname, os.getuid())


@functools.cache
def boot_id() -> str | None:
    """A text that changes with every boot, None where the system tells none."""
    if _LINUX:
        return _first_line("/proc/sys/kernel/random/boot_id")
    return _sysctl("kern.bootsessionuuid") or _sysctl("kern.boottime")


def identity_of(pid: int) -> Identity:
    """The identity of a process that runs now (or lies dead and unreaped)."""
    host = this_host()
    try:
        uid = os.stat(f"/proc/{pid}").st_uid if _LINUX else host.uid
    except OSError:
        uid = host.uid
    return Identity(pid, start_time_and_state(pid)[0], host.boot_id, host.host_id, host.pid_namespace, uid)


def check(identity: Identity) -> Alive:
    """Whether the recorded process lives, by the table of SUP 3.2. A pid alone is no evidence."""
    host = this_host()
    same_host = identity.host_id is None or identity.host_id == host.host_id
    if not same_host:
        return Alive.UNKNOWN
    same_boot = identity.boot_id == host.boot_id
    if identity.boot_id and host.boot_id and not same_boot:
        return Alive.DEAD
    if identity.pid_namespace is not None and identity.pid_namespace != host.pid_namespace:
        return Alive.UNKNOWN
    if not pid_exists(identity.pid):
        return Alive.DEAD
    start_time, state = start_time_and_state(identity.pid)
    if state in ("Z", "X", "x"):
        return Alive.DEAD
    if start_time is None or identity.start_time is None:
        # The process may have ended between the two questions.
        return Alive.UNKNOWN if pid_exists(identity.pid) else Alive.DEAD
    return Alive.ALIVE if start_time == identity.start_time else Alive.DEAD


def is_foreign(identity: Identity) -> bool:
    """Whether the process is one of another host or pid namespace, where its pid means nothing here. Spec: SUP 3.2."""
    host = this_host()
    other_host = identity.host_id is not None and identity.host_id != host.host_id
    return other_host or (identity.pid_namespace is not None and identity.pid_namespace != host.pid_namespace)


def alive(identity: Identity | None) -> bool:
    """True only when the very process that was recorded is known to live."""
    return identity is not None and check(identity) is Alive.ALIVE


def same_process(identity: Identity) -> bool:
    """True when the pid still belongs to the recorded process, be it dead and unreaped: its number is not free."""
    if identity.boot_id != boot_id() or identity.start_time is None:
        return False
    return start_time_and_state(identity.pid)[0] == identity.start_time


def pid_exists(pid: int) -> bool:
    """Whether some process has this number; one that we may not signal exists too."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def start_time_and_state(pid: int) -> tuple[str | None, str]:
    """The start time as opaque text and the one-letter state; (None, "") when they cannot be read."""
    if _LINUX:
        fields = stat_fields(pid)
        return (fields[19], fields[0]) if len(fields) > 19 else (None, "")
    words = _ps(pid)
    return (" ".join(words[1:]), words[0][:1]) if len(words) > 1 else (None, "")


def stat_fields(pid: int) -> list[str]:
    """Linux: the fields of `/proc/<pid>/stat` behind the command name, beginning with the state; [] when unreadable."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("ascii", "replace")
    except OSError:
        return []
    # The command name may itself hold blanks and brackets; only the last bracket ends it.
    return text[text.rfind(")") + 2 :].split()


def _ps(pid: int) -> list[str]:
    return _output(["ps", "-o", "stat=,lstart=", "-p", str(pid)]).split()


def _sysctl(name: str) -> str | None:
    return None if _LINUX else (_output(["sysctl", "-n", name]).strip() or None)


def _output(argv: list[str]) -> str:
    import subprocess

    try:
        done = subprocess.run(argv, capture_output=True, env={**os.environ, "LC_ALL": "C"}, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def _sha256_hex(data: bytes) -> str:
    """As `hashlib` does it, which would load OpenSSL: 3.6 MB and some milliseconds in each of hundreds of runners."""
    for name in ("_sha2", "_sha256", "hashlib"):  # CPython from 3.12 on, before, and whatever else
        try:
            digest: str = __import__(name).sha256(data).hexdigest()
            return digest
        except (ImportError, AttributeError):
            continue
    raise RuntimeError("this Python knows no SHA-256")


def _first_line(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip() or None
    except OSError:
        return None
