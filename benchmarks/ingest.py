"""`python -m benchmarks.ingest`: how many events the control service takes in on loopback, and how fast it answers.

The service runs as a process with its database on disk; a batch is acknowledged when it is durable. Figures for
information; no budget is attached to them.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOKEN = "benchmark-token-0123456789"
BATCH = 50
CLIENTS = 4
BATCHES = 50
RUNS = 200


class Client:
    """One connection to the service."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, body: object = None) -> float:
        """Seconds until the answer was read; SystemExit when it is not 200."""
        data = None if body is None else json.dumps(body).encode()
        begun = time.perf_counter()
        self._connection.request(method, "/api/v1" + path, data, {"Authorization": f"Bearer {TOKEN}"})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:200]!r}")
        return time.perf_counter() - begun


def batch(client: int, number: int) -> dict[str, object]:
    """Events of several waves, of the size that a launcher sends."""
    events = []
    for item in range(BATCH):
        serial = (client * BATCHES + number) * BATCH + item
        place = {"workspaceId": "bench", "projectId": "p", "runKind": "roadmap", "lane": "main"}
        events.append(
            {
                "id": f"e{serial}",
                "entityType": ("wave_run", "agent_run", "gate", "coordination_record")[serial % 4],
                "entityId": f"x{serial}",
                "action": "recorded",
                "recordedAt": f"2026-01-01T{serial // 3600 % 24:02}:{serial // 60 % 60:02}:{serial % 60:02}.000Z",
                "identity": {**place, "wave": serial % RUNS},
                "data": {"agentId": f"A{serial % 5}", "text": "x" * 400},
                "tags": ["a", "b"],
            }
        )
    return {"events": events}


def measure(port: int) -> None:
    """Ingest from several clients, then the queries of the page."""
    taken: list[float] = []

    def work(number: int) -> None:
        client = Client(port)
        taken.extend(client.ask("POST", "/ingest/batches", batch(number, index)) for index in range(BATCHES))

    begun = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - begun
    count = CLIENTS * BATCHES * BATCH
    print(f"ingest: {count} events in {spent:.2f} s, {count / spent:.0f} events/s, {CLIENTS} clients")
    cuts = statistics.quantiles(taken, n=20)
    print(f"        batch of {BATCH}: median {statistics.median(taken) * 1000:.1f} ms, 95 % {cuts[-1] * 1000:.1f} ms")
    client = Client(port)
    for path in ("/runs", "/run?wave=7", "/analytics/overview"):
        median = statistics.median(client.ask("GET", path) for _ in range(5))
        print(f"query:  {path:22} {median * 1000:.1f} ms over {count} events")


def main() -> int:
    """Start the service, measure, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        ready = os.path.join(folder, "ready.json")
        files = ["--ready-file", ready, "--db", os.path.join(folder, "db.sqlite3")]
        server = [sys.executable, os.path.join(REPOSITORY, "wave.py"), "control-server"]
        argv = [*server, "--port", "0", "--log-level", "warn", *files]
        environment = {**os.environ, "WAVE_API_TOKENS": TOKEN}
        child = subprocess.Popen(argv, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while not os.path.exists(ready):
                if time.monotonic() > deadline or child.poll() is not None:
                    raise SystemExit("the service did not start")
                time.sleep(0.02)
            with open(ready, encoding="utf-8") as file:
                measure(json.load(file)["port"])
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
