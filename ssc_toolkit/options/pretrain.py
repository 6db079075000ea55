"""Options of the command `ssc-toolkit pretrain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ssc_toolkit.checks import MAX_FINITE, check_fraction, check_integer, check_positive
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.batches import (
    BatchOptions,
    UnlabeledSource,
    check_proportions,
    name_unlabeled,
    read_unlabeled,
)
from ssc_toolkit.options.chain import ChainOption, check_chain
from ssc_toolkit.options.checks import check_choices
from ssc_toolkit.options.encoder import EncoderOptions, as_encoder
from ssc_toolkit.options.run_settings import check_run_settings
from ssc_toolkit.options.segments import SegmentOptions
from ssc_toolkit.options.targets import SignalOptions, TargetName, TargetOptions, as_target, check_signals
from ssc_toolkit.options.tracks import TrackSource, source_named
from ssc_toolkit.options.training import (
    AUTO,
    LogOptions,
    LossOptions,
    OptimizerOptions,
    ProjectorOptions,
    ReadoutOptions,
    TrainerOptions,
)
from ssc_toolkit.options.validation import MEASURES, ValidationOptions
from ssc_toolkit.paths import user_path

SHARDED = ("fsdp", "deepspeed", "model_parallel")
"""Beginnings of the names of strategies that divide the weights over the processes."""


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(TrackSource):
    """Options of `pretrain`, which pretrains an encoder on partly labeled music.

    The command writes `encoder/`, `history.csv`, `config.yaml`, `settings.json`, `provenance.json`, the checkpoint
    `last.ckpt`, `summary.json`, `tensorboard/` and `pictures/` to the output folder. Load `encoder/` with
    `ssc_toolkit.encoders.load_encoder`, or pass it to `ssc-toolkit probe`. Rerun the same command to resume an
    interrupted run from its checkpoint. If the run is complete, nothing is done. If the tracks have a `split` column,
    only rows with the split "train" are used for training, and rows with the split "valid" for validation.

    Args:
        out: output folder.
        labels: label columns. A cell contains one class or several classes separated by "|". An empty cell means that
            the label is unknown. Two tracks are positives if they are positives in at least one column. Without labels,
            the training is self-supervised.
        target: target of the columns in `labels`, and arguments of its class. `--target=TempoKernel` is the same as
            `--target.name=TempoKernel`.
        signals: list of label signals, instead of `labels` and `target`. Each has its own columns, target, weight and
            mask, as in `[{column: key, target: KeySimilarity}, {column: tempo, target: TempoKernel}]`.
        encoder: architecture of the encoder and arguments of its class, or a saved encoder whose weights the training
            starts from. `--encoder=SampleCNN` is the same as `--encoder.name=SampleCNN`.
        view_seconds: length of a view in seconds.
        views: number of views of each track.
        batch_size: number of tracks in a batch of one process.
        labeled_fraction: fraction of labeled tracks in a batch, from 0 (self-supervised) to 1 (supervised).
        label_budget: fraction of the labeled tracks whose labels are used. The tracks are the same for all columns.
        min_shared: number of labels that two tracks must have in common to be positives, for cells with several
            labels.
        temperature: temperature of the loss.
        steps: number of optimizer steps. To make a run longer, rerun the command with more steps.
        learning_rate: maximum learning rate. "auto" chooses it by a range test of 60 steps before the first step, and
            records it in `learning_rate.json`.
        chain: augmentation chain: a preset (semisupcon, semisupcon_published or clmr), or a list of stages. A stage is
            the name of a preset, corruption or transform, or a dictionary with its name and arguments, such as
            `{name: Gain, gain_db: [-6, 0], p: 0.5}`.
        severity: severity of the preset in `chain`, from 0 (no augmentation) to 2.5; 1 is the published chain.
        omit: stages of the preset in `chain` to omit: gain, polarity_inversion, colored_noise, filter, pitch_shift,
            delay and, with clmr, reverb. Omit pitch_shift if the labels depend on key or pitch.
        seed: seed of the weights, batches and augmentations.
        checkpoint_every: number of steps between checkpoints.
        keep_checkpoints_every: number of steps between checkpoints that are kept in `checkpoints/`; 0 to keep none.
        max_unusable: maximum fraction of the files that may be unreadable or shorter than a view. These files are left
            out.
        workers: number of additional processes that read audio. If 0, the training process reads the audio.
        dry_run: only print the estimated time, memory and disk space, and write nothing to `out`.
        title: text at the start of the progress line.
        unlabeled: additional tracks that are used without labels, in any form that `tracks` accepts.
            `--unlabeled=FOLDER` is the same as `--unlabeled.tracks=FOLDER`. A list of sources can have proportions, as
            in `[{tracks: A, proportion: 0.7}, {tracks: B, proportion: 0.3}]`.
        memory: number of embeddings of earlier batches that the loss uses as additional positives and negatives; 0 for
            none.
        loss: weighting of the pairs of the loss.
        projector: projector between the encoder and the loss.
        readout: readout that the encoder is saved with.
        batches: selection of the labeled tracks of a batch.
        segments: tracks and positions of the views.
        validation: validation on the tracks with the split "valid", best checkpoint and early stopping.
        optimizer: optimizer and learning-rate schedule.
        trainer: devices, precision, and computation of the steps.
        logs: loggers, and how often they log.

    Examples:
        >>> options = PretrainOptions(tracks="scores", out="runs/key", labels="key", omit=("pitch_shift",))
        >>> options.check()
        >>> options.sources
        {'tracks': TrackSource(tracks='scores', root=None, variant=None)}
    """

    out: str
    labels: tuple[str, ...] | str | None = None
    target: TargetName | TargetOptions | None = None
    signals: tuple[SignalOptions, ...] = ()
    encoder: str | EncoderOptions = "MelCNN"
    view_seconds: float = 3.0
    views: int = 2
    batch_size: int = 96
    labeled_fraction: float = 0.5
    label_budget: float = 1.0
    min_shared: int = 1
    temperature: float = 0.1
    steps: int = 1000
    learning_rate: float | Literal["auto"] = 1e-3
    chain: ChainOption = "semisupcon"
    severity: float = 1.0
    omit: tuple[str, ...] = ()
    seed: int = 0
    checkpoint_every: int = 25
    keep_checkpoints_every: int = 0
    max_unusable: float = 0.1
    workers: int = 0
    dry_run: bool = False
    title: str = "pretraining"
    unlabeled: str | UnlabeledSource | TrackSource | list[str | dict[str, Any]] | None = None
    memory: int = 0
    loss: LossOptions = LossOptions()  # noqa: RUF009 - frozen
    projector: ProjectorOptions = ProjectorOptions()  # noqa: RUF009 - frozen
    readout: ReadoutOptions = ReadoutOptions()  # noqa: RUF009 - frozen
    batches: BatchOptions = BatchOptions()  # noqa: RUF009 - frozen
    segments: SegmentOptions = SegmentOptions()  # noqa: RUF009 - frozen
    validation: ValidationOptions = ValidationOptions()  # noqa: RUF009 - frozen
    optimizer: OptimizerOptions = OptimizerOptions()  # noqa: RUF009 - frozen
    trainer: TrainerOptions = TrainerOptions()  # noqa: RUF009 - frozen
    logs: LogOptions = LogOptions()  # noqa: RUF009 - frozen

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Names of the label columns in `labels`."""
        if self.labels is None:
            return ()
        return (self.labels,) if isinstance(self.labels, str) else tuple(self.labels)

    @property
    def label_signals(self) -> tuple[SignalOptions, ...]:
        """Label signals: those of `signals`, or one for each column in `labels`."""
        return tuple(self.signals) or tuple(
            SignalOptions(column=column, target=self.target) for column in self.label_columns
        )

    @property
    def signal_names(self) -> tuple[str, ...]:
        """Names of the label signals, which consist of the names of their columns."""
        return tuple(signal.name for signal in self.label_signals)

    @property
    def largest_minimum(self) -> int:
        """Largest number of common labels that positives of a label signal must have."""
        return max([self.min_shared, *(as_target(signal.target).minimum or 1 for signal in self.label_signals)])

    @property
    def validation_column(self) -> str | None:
        """Name of the label column or signal of the validation, or None without labels."""
        return self.validation.labels or next(iter(self.signal_names), None)

    @property
    def sources(self) -> dict[str, TrackSource]:
        """Track sources by the name of their argument: "tracks", and "unlabeled" or "unlabeled[1]" and so on."""
        found = {"tracks": TrackSource(tracks=self.tracks, root=self.root, variant=self.variant)}
        return found | name_unlabeled(read_unlabeled(self.unlabeled))

    def check(self) -> None:
        """Raise InputError if an option is invalid, or if the output folder contains a run with other settings."""
        self._check_signals()
        columns = self.signal_names
        # Without labels, the only positives are other views.
        least = {"batch_size": 2, "views": 2 if not columns or self.labeled_fraction < 1 else 1}
        least |= dict.fromkeys(("steps", "checkpoint_every", "min_shared"), 1)
        least |= dict.fromkeys(("workers", "seed", "memory", "keep_checkpoints_every"), 0)
        for name, low in least.items():
            check_integer(name, getattr(self, name), low)
        for name in ("view_seconds", "temperature", "learning_rate"):
            if (name, value := getattr(self, name)) != ("learning_rate", AUTO):
                check_positive(name, value, high=MAX_FINITE)
        check_fraction("labeled_fraction", self.labeled_fraction)
        check_fraction("label_budget", self.label_budget, allow_zero=False)
        check_fraction("max_unusable", self.max_unusable)
        check_choices(self)
        check_chain(self.chain, self.severity, self.omit)
        for name, usual in (("label_weight", 1), ("label_weight_end", None)):
            if (value := getattr(self.loss, name)) != usual and not columns:
                raise InputError(f"loss.{name}: expected labels as well, got {value} without labels")
        if self.projector.heads == "separate":
            self._check_separate_heads()
        if self.label_budget < 1 and not columns:
            raise InputError("label_budget: expected labels as well, got None")
        for group in (
            as_encoder(self.encoder),
            self.loss,
            self.projector,
            self.readout,
            self.batches,
            self.segments,
            self.validation,
            self.optimizer,
            self.trainer,
            self.logs,
        ):
            group.check()
        self._check_view_columns()
        self.batches.check_counts(bool(columns), self.labeled_fraction, self.batch_size)
        check_proportions(self.unlabeled)
        frozen = as_encoder(self.encoder).frozen_steps or 0
        if frozen >= self.steps:
            raise InputError(f"encoder.frozen_steps: expected fewer than the {self.steps} steps, got {frozen}")
        processes = self.trainer.devices * self.trainer.num_nodes
        if self.learning_rate == AUTO and processes > 1:
            raise InputError(f"learning_rate: expected a number with {processes} processes, got {AUTO}")
        if self.trainer.precision == AUTO and processes > 1:
            raise InputError(f"trainer.precision: expected 32, bf16 or fp16 with {processes} processes, got {AUTO}")
        if self.trainer.strategy.startswith(SHARDED):  # the first process validates and saves whole weights
            raise InputError(
                "trainer.strategy: expected one with all weights in each process, such as ddp, got "
                f"{self.trainer.strategy}"
            )
        monitor = self.validation.monitor
        if monitor is not None and MEASURES[monitor].needs_labels and self.validation_column is None:
            raise InputError(f"validation.monitor: expected labels or validation.labels with {monitor}, got neither")
        for argument, source in self.sources.items():
            with source_named(argument):
                source.check()
            if self.segments.silence_threshold_db is not None and not source.is_store:
                raise InputError(
                    f"segments.silence_threshold_db: expected {argument} from a store, which contains the levels of "
                    f"the tracks, got {source.tracks}; `ssc-toolkit prepare` makes a store"
                )
        check_run_settings(user_path(self.out, "out"), self)

    def _check_view_columns(self) -> None:
        """Raise InputError if views from other tracks have no effect, or use labels outside of the label budget."""
        for column in self.segments.columns:
            if self.views < 2:
                raise InputError(
                    f"views: expected at least 2 with views from tracks of the same label, got {self.views}"
                )
            if self.label_budget < 1 and column in self.label_columns:
                raise InputError(
                    f"segments.column: expected a column that is not in labels with label_budget={self.label_budget}, "
                    f"got {column}, whose labels outside of the budget would be used"
                )

    def _check_signals(self) -> None:
        """Raise InputError if `labels`, `target`, `signals` and `min_shared` do not fit together."""
        columns = self.label_columns
        if len(set(columns)) < len(columns):
            raise InputError(f"labels: expected different columns, got {', '.join(columns)}")
        for name, value in (("labels", self.labels), ("target", self.target)):
            if self.signals and value is not None:
                raise InputError(f"{name}: expected no {name} with signals, got both")
        check_signals(self.signals)
        target = as_target(self.target)
        target.check()
        if target.name is not None and not columns:
            raise InputError(f"target: expected labels as well, got {target.name} without labels")
        if not self.signals:
            for signal in self.label_signals:
                signal.check_columns("labels")
        targets = [as_target(signal.target) for signal in self.label_signals]
        if self.min_shared != 1 and targets and all(own.name is not None for own in targets):
            raise InputError(
                f"min_shared: expected 1 with a target, got {self.min_shared}; use the argument minimum of SharedLabels"
            )
        for own in targets:
            if self.loss.denominator == "negatives" and own.name in ("GaussianKernel", "TempoKernel"):
                raise InputError(
                    f"loss.denominator: expected all with {own.name}, whose weights are above 0 for all pairs, so that "
                    "there are no negatives, got negatives"
                )

    def _check_separate_heads(self) -> None:
        """Raise InputError if one of the two losses of separate projectors would have no positives."""
        for name, is_missing, expected in (
            ("labels", not self.signal_names, "label columns"),
            ("labeled_fraction", self.labeled_fraction == 0, "a fraction above 0"),
            ("views", self.views < 2, "at least 2"),
        ):
            if is_missing:
                raise InputError(
                    f"{name}: expected {expected} with projector.heads=separate, got {getattr(self, name)}"
                )
