"""Copies of this program: vendored into another repository, or bundled into one file.

Holds:       nothing.
Writes:      the folder or file that the caller names, whole or not at all.
When killed: a vendored package is either the old or the new one; left-over temporary folders do no harm.

A bundle is a zip archive that Python runs directly: a start program, and the package as an archive within (Python reads
the whole table of contents of the outer one at every start). Archives keep no compiled modules, so the first start
unpacks the package into a private cache folder; every later start imports from there, as fast as an unpacked package.
Where nothing can be written it imports from an archive in memory (Linux), which is slower and otherwise the same.

Spec: DESIGN 1, 2; WORK 2.6 (`MANIFEST.sha256`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..base.errors import UsageError, WaveError
from ..base.files import ensure_dir, write_bytes

MANIFEST_NAME = "MANIFEST.sha256"
PUBLIC_DIR, PUBLIC_FILE, PUBLIC_PROGRAM = 0o755, 0o644, 0o755

PROGRAM_TEXT = '''#!/usr/bin/env python3
"""`python3 wave.py …`: runs the wave package that lies beside this file, and nothing else."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # Python itself may be told not to look here (-I)

from {package}.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
'''

BOOT_TEXT = '''"""Start of the bundle: unpacks the package once into a private cache folder, then runs it from there."""

import os
import sys

DIGEST = "{digest}"


def cache_folders():
    home = os.environ.get("HOME")
    if os.environ.get("XDG_CACHE_HOME"):
        yield os.path.join(os.environ["XDG_CACHE_HOME"], "wave-bundles")
    if home:
        yield os.path.join(home, ".cache", "wave-bundles")
    yield os.path.join(os.environ.get("TMPDIR") or "/tmp", "wave-bundles-%d" % os.getuid())


def ours(folder):
    """True when nobody else can write there: code is imported from this folder."""
    seen = os.lstat(folder)
    return (seen.st_mode & 0o170022) == 0o040000 and seen.st_uid == os.getuid()


def unpacked(archive):
    """The folder that holds the package, unpacked now or earlier; an archive in memory when there can be none."""
    for base in cache_folders():
        folder = os.path.join(base, DIGEST)
        try:
            if os.path.isdir(folder):
                if ours(base) and ours(folder):
                    return folder
                continue
            os.makedirs(base, mode=0o700, exist_ok=True)
            if ours(base):
                unpack(archive, base, folder)
                return folder
        except OSError:
            continue
    if not hasattr(os, "memfd_create"):
        sys.exit("[wave] no folder to unpack this bundle into; set XDG_CACHE_HOME to one that can be written")
    memory = os.memfd_create("package.zip")
    with os.fdopen(memory, "wb", closefd=False) as target:
        target.write(package(archive))
    return "/proc/self/fd/%d" % memory


def package(archive):
    import zipfile

    with zipfile.ZipFile(archive) as bundle:
        return bundle.read("package.zip")


def unpack(archive, base, folder):
    import io
    import shutil
    import tempfile
    import zipfile

    fresh = tempfile.mkdtemp(prefix="new-", dir=base)
    try:
        zipfile.ZipFile(io.BytesIO(package(archive))).extractall(fresh)
        os.rename(fresh, folder)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not os.path.isdir(folder):  # else another start was faster; both have the same content
            raise


if __name__ == "__main__":
    sys.path[0] = unpacked(sys.path[0])
    sys.dont_write_bytecode = False  # many containers set it; in our own cache folder compiled modules are the point
    from {package}.cli import main

    sys.exit(main())
'''


class Copied(NamedTuple):
    """What a copy wrote: the absolute path and how many files are in it."""

    path: str
    files: int


def package_name() -> str:
    """The name that this package goes by here: vendored copies may have another."""
    return __name__.partition(".")[0]


def package_files() -> list[tuple[str, bytes]]:
    """Every file of this package as (path relative to it, content), sorted; the same from a folder and from a zip."""
    from importlib.resources import files

    return sorted(_walk(files(package_name()), ""))


def vendor(target: str, name: str) -> Copied:
    """Copy `wave.py` and this package, called `name` there, into the folder `target`.

    An earlier copy of the same name is replaced whole, so that no module of an older version stays behind. Raises
    UsageError for a bad name, WaveError when `target` is no folder or holds something else under that name.
    """
    if not name.isidentifier():
        raise UsageError(f"--name must be a Python identifier, got: {name}")
    if not os.path.isdir(target):
        raise WaveError("not a folder", where=target, remedy="create it first, or name another one")
    package = os.path.join(os.path.abspath(target), name)
    if os.path.realpath(package) == os.path.realpath(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))):
        raise WaveError("this is the copy that is running", where=package, remedy="name another folder")
    if os.path.exists(package) and not os.path.exists(os.path.join(package, "cli.py")):
        raise WaveError("exists and is no copy of this program", where=package, remedy="choose another --name")
    contents = package_files()
    fresh = os.path.join(os.path.dirname(package), f".{name}.new-{os.getpid()}")
    for path, content in contents:
        _write_public(os.path.join(fresh, path), content, PUBLIC_FILE)
    _write_public(os.path.join(fresh, MANIFEST_NAME), manifest_text(contents).encode(), PUBLIC_FILE)
    _swap(fresh, package)
    _write_public(os.path.join(target, "wave.py"), PROGRAM_TEXT.format(package=name).encode(), PUBLIC_PROGRAM)
    return Copied(package, len(contents))


def manifest_text(contents: list[tuple[str, bytes]]) -> str:
    """One `<sha256>  <path>` line a file, sorted by path: what `sha256sum -c` reads."""
    from hashlib import sha256

    return "".join(f"{sha256(content).hexdigest()}  {path}\n" for path, content in contents)


def bundle(out: str) -> Copied:
    """Write this program as one file that Python runs directly. The same source gives the same bytes."""
    from hashlib import sha256

    if os.path.isdir(out):
        raise WaveError("is a folder", where=out, remedy="name the file to write, such as wave.py")
    contents = package_files()
    name = package_name()
    digest = sha256(manifest_text(contents).encode()).hexdigest()[:32]
    boot = BOOT_TEXT.replace("{digest}", digest).replace("{package}", name)
    package = _archive([(f"{name}/{path}", content) for path, content in contents])
    program = _archive([("__main__.py", boot.encode()), ("package.zip", package)], compressed=False)
    path = os.path.abspath(out)
    _write_public(path, b"#!/usr/bin/env python3\n" + program, PUBLIC_PROGRAM)
    return Copied(path, len(contents))


def _archive(members: list[tuple[str, bytes]], compressed: bool = True) -> bytes:
    """A zip archive whose bytes depend on names and contents alone: fixed times, modes and order."""
    from io import BytesIO
    from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

    stream = BytesIO()
    with ZipFile(stream, "w") as archive:
        for name, content in members:
            info = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = ZIP_DEFLATED if compressed else ZIP_STORED
            info.external_attr = 0o100644 << 16
            info.create_system = 3
            archive.writestr(info, content, compresslevel=9 if compressed else None)
    return stream.getvalue()


def _walk(folder: Any, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.name == "__pycache__" or entry.name == MANIFEST_NAME or entry.name.endswith((".pyc", ".pyo")):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()


def _write_public(path: str, content: bytes, mode: int) -> None:
    """A file of the program, which other people may read; state files are private instead."""
    folder = os.path.dirname(path)
    made = folder
    while not os.path.isdir(made):
        made = os.path.dirname(made)
    ensure_dir(folder)
    while len(folder) > len(made):
        os.chmod(folder, PUBLIC_DIR)
        folder = os.path.dirname(folder)
    write_bytes(path, content, durable=False)
    os.chmod(path, mode)


def _swap(fresh: str, package: str) -> None:
    """Put the fresh folder in the place of the old one; a folder cannot be replaced in one step."""
    import shutil

    old = f"{fresh}.old"
    if os.path.isdir(package):
        os.rename(package, old)
    try:
        os.rename(fresh, package)
    except OSError as error:
        if os.path.isdir(old):
            os.rename(old, package)
        raise WaveError(f"cannot be replaced ({error.strerror})", where=package) from None
    shutil.rmtree(old, ignore_errors=True)
