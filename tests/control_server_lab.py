"""The real control service as a process, and a small client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "env-token-0123456789"


class Got(NamedTuple):
    """One answer; header names are lower case."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        """The code of an error answer."""
        return str(self.body["code"])


class ControlLab:
    """`python3 wave.py control-server` on a free port, with a database in `root`."""

    def __init__(self, root: Path, *options: str, **env: str) -> None:
        self.root = root
        self.db = root / "control.sqlite3"
        self.env = {"WAVE_API_TOKENS": TOKEN, "WAVE_CONTROL_DB_PATH": str(self.db), **env}
        self.options = options
        self.child: subprocess.Popen[str] | None = None
        self.url = ""

    def command(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "wave.py"), "control-server", *words],
            cwd=self.root, env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=open(self.root / "log", "a"), text=True, start_new_session=True,
        )  # fmt: skip

    def start(self) -> ControlLab:
        ready = self.root / "ready.json"
        ready.unlink(missing_ok=True)
        self.child = self.command("--port", "0", "--ready-file", str(ready), *self.options)
        wait_until(lambda: ready.exists() or (self.child is not None and self.child.poll() is not None), 15)
        assert ready.exists(), (self.root / "log").read_text()
        self.url = f"http://127.0.0.1:{json.loads(ready.read_text())['port']}"
        return self

    def __enter__(self) -> ControlLab:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.child is not None and self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
        if self.child is not None:
            self.child.wait()
            assert self.child.stdout is not None
            self.child.stdout.close()

    def admin(self, *words: str) -> Any:
        """The JSON that an administrative command prints."""
        child = self.command(*words)
        out, _ = child.communicate(timeout=20)
        assert child.returncode == 0, (self.root / "log").read_text()
        return json.loads(out)

    def pat(self, email: str, *options: str, grants: tuple[str, ...] = ()) -> tuple[str, str]:
        """(token, user id) of a new user."""
        user = self.admin("user", "add", "--email", email, *(word for grant in grants for word in ("--grant", grant)))
        return self.admin("token", "create", "--user", user["id"], *options)["token"], user["id"]

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        token: str | None = TOKEN,
        method: str | None = None,
        data: bytes | None = None,
        **headers: str,
    ) -> Got:
        """One request below `/api/v1` (or an absolute path that begins with `//`)."""
        sent = data if data is not None else None if body is None else json.dumps(body).encode()
        url = self.url + (path[1:] if path.startswith("//") else "/api/v1" + path)
        request = urllib.request.Request(url, data=sent, method=method)
        for name, value in headers.items():
            request.add_header(name, value)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=20) as answer:
                return _got(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return _got(error.code, error.read(), error.headers)

    def log(self) -> str:
        return (self.root / "log").read_text()


def _got(status: int, data: bytes, headers: Any) -> Got:
    found = {name.lower(): value for name, value in headers.items()}
    text = data.decode("utf-8", "replace")
    kind = found.get("content-type", "")
    return Got(status, json.loads(text) if kind.startswith("application/json") else text, found)


def event(number: int | str, entity: str = "fact", action: str = "recorded", **more: Any) -> dict[str, Any]:
    """An acceptable event of wave 1."""
    identity = {"workspaceId": "ws", "projectId": "p", "runKind": "roadmap", "lane": "main", "wave": 1}
    identity.update(more.pop("identity", {}))
    stamp = f"2026-01-02T03:04:{int(number) % 60 if str(number).isdigit() else 0:02}.000Z"
    return {
        "id": f"e{number}", "schemaVersion": 1, "kind": "wave-control-event", "entityType": entity, "entityId": "x",
        "action": action, "recordedAt": stamp, "identity": identity, "data": {}, **more,
    }  # fmt: skip
