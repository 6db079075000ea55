"""The `prepare` command."""

from __future__ import annotations

from pathlib import Path

from ssc_toolkit.audio import Channel
from ssc_toolkit.checks import check_whole
from ssc_toolkit.data.recipes import RECIPES, describe_dataset
from ssc_toolkit.data.store.reader import AudioStore
from ssc_toolkit.data.store.verify import verify_store
from ssc_toolkit.data.store.writer import prepare_store
from ssc_toolkit.data.tracks import load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.paths import user_path

_SHOWN = 10


def prepare(
    tracks: str | None = None,
    dataset: str | None = None,
    root: str | None = None,
    variant: str | None = None,
    out: str = "store",
    sample_rate: int = 22050,
    channel: Channel = "mean",
    minimum_seconds: float = 0.0,
    most_skipped: float = 0.1,
    strict: bool = False,
    workers: int | None = None,
    shard_megabytes: int = 256,
    verify: bool = False,
    describe: bool = False,
) -> Path:
    """Decode audio once into a store that reads segments at memory speed; pass it as `--tracks` to any command.

    Rerun the same command to resume. When files were added, only the new files are decoded.

    Args:
        tracks: a CSV file with a `path` column, a folder of audio, or "scores" for the default corpus.
        dataset: a published dataset, instead of `tracks`; if files are missing, the error lists them and their paths.
        root: folder of the dataset, or the folder that relative paths in the CSV file start from (by default its own).
        variant: variant of the dataset, which sets the labels and the split.
        out: folder of the store.
        sample_rate: sample rate in hertz, that of the encoder (MelCNN and ShortChunkCNN 16000, the others 22050).
        channel: how files are converted to mono: mean, left, right, or the loudest channel of each file.
        minimum_seconds: minimum length in seconds; shorter tracks are left out.
        most_skipped: fraction of the files that may be unreadable, silent or too short.
        strict: stop at the first such file.
        workers: number of decoding threads; one for each CPU core by default.
        shard_megabytes: maximum size of the files of the store in MiB.
        verify: only check the store in `out` against its checksums and its source files.
        describe: only print the variants of a dataset and the files that it needs.

    Returns:
        Path of the store.

    Raises:
        InputError: if an argument is invalid, or files are missing or cannot be used.
    """
    if verify:
        return _verify(out)
    if describe:
        for name in RECIPES if dataset is None else [dataset]:
            print(describe_dataset(name))
        return user_path(out, "out")
    if (tracks is None) == (dataset is None):
        raise InputError(f"tracks, dataset: give one of them; the datasets are {', '.join(RECIPES)}")
    if dataset is not None and dataset not in RECIPES:
        raise InputError(f"dataset: expected one of {', '.join(RECIPES)}, got {dataset!r}")
    if dataset is not None and root is None:
        raise InputError(f"root: expected the folder of the dataset, got none. {describe_dataset(dataset)}")
    if workers is not None:
        check_whole("workers", workers, 1)
    prepare_store(
        load_tracks(dataset or tracks or "", root, variant),
        out,
        sample_rate,
        channel=channel,
        minimum_seconds=minimum_seconds,
        most_skipped=most_skipped,
        strict=strict,
        workers=workers,
        shard_megabytes=shard_megabytes,
    )
    print(AudioStore(out))
    return user_path(out, "out")


def _verify(folder: str) -> Path:
    found = verify_store(folder)
    gone = f"; {found.gone} source files no longer exist" if found.gone else ""
    print(f"{found.tracks} tracks in {found.shards} shards{gone}")
    if found.changed:
        print(f"{len(found.changed)} source files have changed: {_some(found.changed)}")
        print("the same `ssc-toolkit prepare` without --verify decodes them again")
    if found.damaged:
        lost = (
            f" The source files of {found.lost} of their tracks no longer exist: restore them first, or restore a copy "
            "of the store."
        )
        raise InputError(
            f"out: {len(found.damaged)} files are damaged: {_some(found.damaged)}. The same `ssc-toolkit prepare` "
            f"without --verify restores them.{lost if found.lost else ''}"
        )
    print("the store is undamaged")
    return user_path(folder, "out")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
