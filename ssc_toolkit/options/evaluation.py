"""Options that several commands of the evaluation have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ssc_toolkit.checks import check_fraction, check_integer, check_names, check_positive
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices, check_encoder, check_layers, check_omit, check_severity
from ssc_toolkit.options.code import CodeOptions
from ssc_toolkit.options.corruptions import expand_corruptions
from ssc_toolkit.options.names import CHAIN, FINETUNE, LEAVE_ONE_OUT, METHODS, SEVERITIES
from ssc_toolkit.options.tracks import TrackSource


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions(CodeOptions, TrackSource):
    """Options of all commands that compute embeddings: `embed`, `probe`, `robustness`, `retrieval` and `compare`.

    Args:
        window_seconds: length of a window in seconds. The windows do not overlap, and the embedding of a track is the
            mean over its windows. The default is the view length of the encoder's training, which is read from the
            folder above the encoder, or 3 if it is not known.
        frame_pooling: how the frames of a window are combined: mean, max, mean_std (mean and standard deviation),
            unit_mean_std (the same, each divided by its norm) or scaled_mean_std (also by the square root of its
            width). "default" is the pooling that the encoder was saved with, or that of its architecture.
        layers: layers of the encoder whose frames are used: last, all, or a list of names. Their embeddings are
            concatenated. The default is the layers that the encoder was saved with, or the last.
        max_unusable: maximum fraction of the files that may be unreadable or silent. These files are left out.
    """

    window_seconds: float | None = None
    frame_pooling: Literal["default", "mean", "mean_std", "unit_mean_std", "scaled_mean_std", "max"] = "default"
    layers: tuple[str, ...] = ()
    max_unusable: float = 0.1

    @property
    def readout(self) -> dict[str, Any]:
        """Keyword arguments `frame_pooling` and `layers` of the functions that compute embeddings."""
        return {"frame_pooling": self.frame_pooling, "layers": self.layers or None}

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_choices(self)
        check_fraction("max_unusable", self.max_unusable)
        if self.window_seconds is not None:
            check_positive("window_seconds", self.window_seconds, "seconds")
        check_layers(self.layers)
        super().check()


@dataclass(frozen=True, kw_only=True)
class LabelOptions(EmbeddingOptions):
    """Options of all commands that score embeddings by labels: `probe`, `robustness`, `retrieval` and `compare`.

    Args:
        labels: label columns to predict.
        seed: seed of the split, the probes and the random encoders.
    """

    labels: tuple[str, ...]
    tracks: str = "scores"
    seed: int = 0

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        if not self.labels:
            raise InputError("labels: expected at least one label column, got none")
        check_integer("seed", self.seed, 0)
        super().check()


@dataclass(frozen=True, kw_only=True)
class EncoderOptions(LabelOptions):
    """Options of the commands that evaluate one encoder and baselines: `probe`, `robustness` and `retrieval`.

    Args:
        encoder: folder of a saved encoder, MTT_musicnn or MSD_musicnn, or module:function that returns a
            model, which requires allow_code.
        cache: folder of the embedding cache. An embedding is computed again if the model, the audio or the corruption
            has changed.
        out: folder for report.json, report.md and report.html. Reports of earlier commands are replaced; other files
            with these names are an error. By default no report is written.
    """

    encoder: str
    cache: str | None = None
    out: str | None = None

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        super().check()
        check_encoder(self.encoder, allow_code=self.allow_code)


@dataclass(frozen=True, kw_only=True)
class ProbingOptions(LabelOptions):
    """Options of all commands that fit probes: `probe`, `robustness` and `compare`.

    Args:
        methods: one or more of linear, mlp, knn (nearest neighbors), prototypes (similarity to the mean of each class)
            and weighted_layers (a learned weighted sum of several layers).
        numbers: names of the label columns that contain numbers, which are predicted by regression. The other columns
            contain classes.
    """

    known_methods: ClassVar[tuple[str, ...]] = METHODS
    methods: tuple[str, ...] = ("linear",)
    numbers: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_names("methods", self.methods, self.known_methods)
        odd = sorted(set(self.numbers) - set(self.labels))
        if odd and self.labels:
            raise InputError(f"numbers: expected names from labels ({', '.join(self.labels)}), got {', '.join(odd)}")
        super().check()


@dataclass(frozen=True, kw_only=True)
class CrossValidationOptions(ProbingOptions):
    """Options of the commands that can cross-validate probes: `probe` and `compare`.

    Args:
        repeats: number of seeds, starting at `seed`. A score is the mean over the seeds. In cross-validation, each seed
            has its own folds.
        folds: number of folds of cross-validation, or "groups" for one fold per group. Each track is then a test track
            once. By default, the splits of the table are used.
        group_by: name of the column with the group of each track, such as its artist, for cross-validation. All tracks
            of a group are in the same fold. The default is the column `group`. Without it, each track is its own group.
        splits: names of the splits whose tracks are cross-validated, such as train,valid. Required with `folds` if the
            table has a column `split`.
    """

    repeats: int = 1
    folds: int | Literal["groups"] | None = None
    group_by: str | None = None
    splits: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_integer("repeats", self.repeats, 1)
        if self.folds is None:
            for name, value in (("group_by", self.group_by), ("splits", ",".join(self.splits))):
                if value:
                    raise InputError(f"{name}: expected folds to use it with, got {value} without folds")
        elif self.folds != LEAVE_ONE_OUT:
            check_integer("folds", self.folds, 2)
        if self.folds is not None and FINETUNE in self.methods:
            raise InputError(
                f"methods: {FINETUNE} expected a table with splits, got folds={self.folds}; cross-validation fits "
                "probes to embeddings that are computed once, and trains no encoder for each fold"
            )
        super().check()


@dataclass(frozen=True, kw_only=True)
class CorruptionOptions(ProbingOptions):
    """Options of the commands that score probes on corrupted test tracks: `robustness` and `compare`.

    Args:
        corruptions: "chain" for the whole augmentation chain, or names of single corruptions. Stages of the chain:
            gain, polarity_inversion, colored_noise, filter, pitch_shift, delay. Other corruptions: time_stretch,
            splice_out, reverb, chorus, distortion, compression, reverse, bitcrush, mp3 ("unseen" for all of them).
            Names joined by "+", such as chain+reverb, are applied one after another. "chain+unseen" is the chain
            followed by each of the other corruptions, and "tiers" the chain followed by the first, the first two, and
            so on.
        severities: severities of the corruptions, 0 (clean) to 2.5. Clean audio is always included.
        omit: stages of the augmentation chain to omit. Omit pitch_shift if labels depend on key or pitch.
        draws: folder of stored random corruptions. Corruptions in the folder are used. Missing ones are drawn and
            added. Pass the same folder for another model to use the same corrupted audio. By default, corruptions are
            drawn from the seed and stored in the output folder.
    """

    corruptions: tuple[str, ...] = (CHAIN,)
    severities: tuple[float, ...] = SEVERITIES
    omit: tuple[str, ...] = ()
    draws: str | None = None

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        if not self.corruptions:
            raise InputError(f"corruptions: expected at least one name, such as {CHAIN}, got none")
        expand_corruptions(self.corruptions)
        for severity in self.severities:
            check_severity(severity)
        check_omit(self.omit)
        super().check()
