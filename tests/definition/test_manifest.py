"""The manifest of a lane. Spec: CFG 14."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from wave_lab import Lab, agent, wave

from wave_lib.definition.manifest import build_manifest
from wave_lib.definition.wave_files import parse_wave_files
from wave_lib.definition.wave_resolution import resolve_wave
from wave_lib.definition.wave_validation import load_references


def test_waves_and_documents(tmp_path: Path) -> None:
    lab = Lab(tmp_path, skills={"base": ["core"]})
    lab.skill("core")
    lab.wave_file(wave(agent()))
    data = b"\xff\x00binary"
    lab.write("docs/z.bin", "").write_bytes(data)
    lab.write("docs/nested/a.md", "a")
    os.symlink(tmp_path / "docs/nested", tmp_path / "docs/linked")
    os.symlink(tmp_path / "docs/z.bin", tmp_path / "docs/link.bin")
    references = load_references(lab.paths)
    waves = [resolve_wave(item, lab.paths, references) for item in parse_wave_files(lab.paths).waves]
    manifest = build_manifest(lab.paths, waves, now="2026-01-01T00:00:00.000Z")
    payload = json.loads(json.dumps(manifest.payload))
    assert list(payload) == ["schemaVersion", "kind", "generatedAt", "source", "waves", "docs"]
    assert (payload["kind"], payload["source"]) == ("wave-manifest", "docs/**/*")
    assert payload["generatedAt"] == "2026-01-01T00:00:00.000Z"
    names = [doc["path"] for doc in payload["docs"]]
    assert names == sorted(names) and "docs/nested/a.md" in names
    assert not any("link" in name for name in names)
    document = next(doc for doc in payload["docs"] if doc["path"] == "docs/z.bin")
    assert document == {"path": "docs/z.bin", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    written = payload["waves"][0]
    assert (written["contQaAgentId"], written["closureAgentIds"]) == ("A0", ["A0", "A8", "A9", "E0"])
    assert written["agents"][1]["skillsResolved"]["ids"] == ["core"]
    assert "promptText" not in written["agents"][1]["skillsResolved"]
    assert manifest.warnings == ()


def test_what_cannot_be_read_is_left_out_with_a_warning(tmp_path: Path, monkeypatch: object) -> None:
    lab = Lab(tmp_path)
    path = lab.write("docs/secret.md", "x")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything, so let the file be gone by the time it is hashed
        from wave_lib.definition import manifest as module

        real = module.sha256_file

        def gone(name: str) -> str:
            if name.endswith("secret.md"):
                raise PermissionError(13, "Permission denied")
            return real(name)

        monkeypatch.setattr(module, "sha256_file", gone)  # type: ignore[attr-defined]
    manifest = build_manifest(lab.paths, [])
    assert manifest.warnings == ("docs/secret.md: left out of the manifest: Permission denied",)
    assert "docs/secret.md" not in [doc["path"] for doc in manifest.payload["docs"]]
