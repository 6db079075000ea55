"""A small repository of real packages, and programs named `apt-get`, `apt-cache` and `npm` that serve them."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = {
    "apt-cache": """for deb in "$packages"/*.deb; do
        basename "$deb" | sed 's/_.*//'
    done | grep -E "$3" | sed 's/$/ - music/'""",
    "apt-get": 'cp "$packages/$2"_*.deb .',
    "npm": 'for name; do :; done; cp "$packages/$name"-[0-9]*.tgz .',
}
COPYRIGHT = "Files: *\nCopyright: 2001 Ann\nLicense: GPL-2+\n\nFiles: music/*\nLicense: CC-BY-3.0\n"


class Repository:
    """Folder with packages, and a folder with programs that copy them; `environment` puts the programs on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.packages, self.programs = folder / "repository", folder / "programs"
        for path in (self.packages, self.programs):
            path.mkdir(parents=True)
        for name, command in PROGRAMS.items():
            self.set_program(name, command)

    def set_program(self, name: str, command: str) -> None:
        path = self.programs / name
        path.write_text(f'#!/bin/sh\npackages="{self.packages}"\n{command}\n')
        path.chmod(0o755)

    def add_deb(self, name: str, version: str, files: Mapping[str, bytes]) -> Path:
        root = self.packages / f"{name}.root"
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Ann <a@b.c>\nDescription: music\n"
        )
        wanted = {"DEBIAN/control": control.encode(), f"usr/share/doc/{name}/copyright": COPYRIGHT.encode(), **files}
        for path, content in wanted.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        deb = self.packages / f"{name}_{version}_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", root, deb], check=True, capture_output=True)
        return deb

    def add_npm(self, name: str, version: str, files: Mapping[str, bytes]) -> Path:
        content = {"name": name, "version": version, "license": "MIT", "scripts": {"install": "touch /tmp/ran"}}
        wanted = {"package.json": json.dumps(content).encode(), "README.md": b"Samples: [CC-by 3.0](x)\n", **files}
        path = self.packages / f"{name}-{version}.tgz"
        path.write_bytes(make_tar({f"package/{file}": data for file, data in wanted.items()}, "gz"))
        return path


def make_tar(files: Mapping[str, bytes | tarfile.TarInfo], compression: str = "") -> bytes:
    """Return a tar archive with files, and with entries of other kinds, under any names."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=f"w:{compression}") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def make_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def make_deb(name: str, data: bytes) -> bytes:
    """Return a Debian package whose files are those of a tar archive, which may have any names."""
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: Ann <a@b.c>\nDescription: music\n".encode()
    deb = b"!<arch>\n"
    members = {
        "debian-binary": b"2.0\n",
        "control.tar": make_tar({"./control": control}),
        "data.tar": data,
    }
    for member, content in members.items():
        header = f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        deb += header + content + b"\n" * (len(content) % 2)
    return deb
