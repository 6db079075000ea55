"""Search for music that is both in the training and in the test data: same files, near-duplicates, shared artists."""

from ssc_toolkit.evaluation.leaks.fingerprints import Fingerprints, fingerprint
from ssc_toolkit.evaluation.leaks.matching import MIN_SIMILARITY, Matches, find_matches
from ssc_toolkit.evaluation.leaks.record import (
    TRAINING_TRACKS,
    TrackRecord,
    find_pretraining_record,
    join_records,
    load_record,
    record_tracks,
    save_record,
)
from ssc_toolkit.evaluation.leaks.search import (
    NEAR_DUPLICATE,
    SAME_FILE,
    SHOWN_PAIRS,
    Leak,
    Leaks,
    Uncompared,
    count_tracks,
    find_leaks,
)

__all__ = [
    "MIN_SIMILARITY",
    "NEAR_DUPLICATE",
    "SAME_FILE",
    "SHOWN_PAIRS",
    "TRAINING_TRACKS",
    "Fingerprints",
    "Leak",
    "Leaks",
    "Matches",
    "TrackRecord",
    "Uncompared",
    "count_tracks",
    "find_leaks",
    "find_matches",
    "find_pretraining_record",
    "fingerprint",
    "join_records",
    "load_record",
    "record_tracks",
    "save_record",
]
