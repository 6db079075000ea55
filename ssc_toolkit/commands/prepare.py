"""The command `ssc-toolkit prepare`."""

from __future__ import annotations

from pathlib import Path

from ssc_toolkit.data.recipes import RECIPES, describe_dataset
from ssc_toolkit.data.store.prepare import prepare_store
from ssc_toolkit.data.store.reader import AudioStore
from ssc_toolkit.data.store.verify import verify_store
from ssc_toolkit.data.tracks import load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.prepare import PrepareOptions
from ssc_toolkit.paths import user_path

_SHOWN = 10


def prepare(options: PrepareOptions) -> Path:
    """Decode audio into a store. With `verify` or `describe`, only check the store or describe the datasets.

    Args:
        options: options of the command, as on the command line.

    Returns:
        Folder of the audio store.

    Raises:
        InputError: if an option is invalid, or files are missing or cannot be used.
    """
    options.check()
    if options.verify:
        return _verify(options.out)
    if options.describe:
        for name in RECIPES if options.dataset is None else [options.dataset]:
            print(describe_dataset(name))
        return user_path(options.out, "out")
    if options.dataset is not None and options.root is None:
        raise InputError(f"root: expected the folder of the dataset, got none. {describe_dataset(options.dataset)}")
    prepare_store(
        load_tracks(options.dataset or options.tracks or "", options.root, options.variant),
        options.out,
        options.sample_rate,
        channel=options.channel,
        min_seconds=options.min_seconds,
        max_unusable=options.max_unusable,
        strict=options.strict,
        threads=options.threads,
        shard_megabytes=options.shard_megabytes,
    )
    print(AudioStore(options.out))
    return user_path(options.out, "out")


def _verify(folder: str) -> Path:
    found = verify_store(folder)
    gone = f"; {found.gone} source files no longer exist" if found.gone else ""
    print(f"{found.tracks} tracks in {found.shards} shards{gone}")
    if found.changed:
        print(f"{len(found.changed)} source files have changed: {_some(found.changed)}")
        print("run the same `ssc-toolkit prepare` without --verify to decode them again")
    if found.damaged:
        lost = (
            f" The source files of {found.lost} of their tracks no longer exist: restore them first, or restore a copy "
            "of the store."
        )
        raise InputError(
            f"out: {len(found.damaged)} files are damaged: {_some(found.damaged)}. Run the same `ssc-toolkit prepare` "
            f"without --verify to restore them.{lost if found.lost else ''}"
        )
    print("the store is undamaged")
    return user_path(folder, "out")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
