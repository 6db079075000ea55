"""The command `ssc-toolkit frames`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from ssc_toolkit.commands.inputs import (
    THIS,
    ModelsBySeed,
    baselines_by_seed,
    choose_windows,
    load_for,
    open_encoder,
    optional_folder,
    publish,
    usable_tracks,
)
from ssc_toolkit.data.corpus import annotate_corpus
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.encoders import Encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import RANDOM
from ssc_toolkit.evaluation.frame_probing import (
    Annotations,
    check_frame_length,
    frame_probe,
    read_beats,
    read_chord_roots,
)
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.results import Results, make_score_row, to_records
from ssc_toolkit.options.frames import FramesOptions
from ssc_toolkit.reports.evaluation_sections import frame_section


def frames(options: FramesOptions) -> Results:
    """Fit linear probes to the frames of layers of an encoder and of a random encoder, and print their scores.

    Args:
        options: options of the command, as on the command line.

    Returns:
        All scores. The column `method` of `Results.frame` contains the layer.

    Raises:
        InputError: if an option or a file is invalid. The error is raised before the work starts.
    """
    options.check()
    with optional_folder(options.out) as folder:
        model = open_encoder(options.encoder, None, allow_code=options.allow_code)
        if not isinstance(model, Encoder):
            raise InputError(f"encoder: expected an Encoder, which gives frames, got {type(model).__name__}")
        layers = model.select_layers("all" if options.layers == ("all",) else options.layers)
        models: ModelsBySeed = {**baselines_by_seed({THIS: model}, [options.seed]), THIS: [model]}
        compared: ModelsBySeed = {name: own for name, own in models.items() if name == THIS or name.startswith(RANDOM)}
        seconds = choose_windows(compared, options.window_seconds)[THIS]
        found = load_for(compared, options, options.seed)
        annotations = _annotations(options, found)
        for layer in layers:
            check_frame_length(model, layer, seconds, annotations, "layers")
        tracks, _ = usable_tracks(found, options.max_unusable, {})
        results = Results.of(_scores(compared, tracks, annotations, layers, seconds, options))
        content = {
            "provenance": provenance_of(
                tracks, window_seconds=seconds, seeds=(options.seed,), encoder=options.encoder, layers=list(layers)
            ),
            "records": to_records(results.frame),
        }
        lead = f"Encoder {options.encoder}, tracks {options.tracks}."
        publish(folder, "Frame probes", lead, [frame_section(results.frame)], content)
        return results


def _scores(
    models: ModelsBySeed,
    tracks: TrackTable,
    annotations: Annotations,
    layers: list[str] | tuple[str, ...],
    seconds: float,
    options: FramesOptions,
) -> Iterator[dict[str, Any]]:
    """Yield the score of each model and layer as a row from `make_score_row`, with the layer as the method."""
    for name, own in models.items():
        for layer in layers:
            score = frame_probe(cast(Encoder, own[0]), tracks, annotations, layer, seconds, options.seed)
            yield make_score_row(score, model=name, task=options.task, method=layer, seed=options.seed)


def _annotations(options: FramesOptions, tracks: TrackTable) -> Annotations:
    """Read the annotations, which are derived from the scores if a corpus has none yet."""
    beats, roots = None, None
    if options.annotations is None:
        beats, roots = annotate_corpus(Path(tracks["path"].iloc[0]).parent.parent)
    if options.task == "beats":
        return read_beats(beats or str(options.annotations))
    return read_chord_roots(roots or str(options.annotations))
