"""Section of reports about music that is in the test set and also in other sets of tracks."""

from __future__ import annotations

from ssc_toolkit.evaluation.leaks import MIN_SIMILARITY, NEAR_DUPLICATE, SAME_FILE, SHOWN_PAIRS, Leaks, count_tracks
from ssc_toolkit.reports.page import Section


def leak_section(leaks: Leaks) -> Section:
    """Return the report section about leaks, with rows for the first pairs of tracks or shared groups of each leak.

    Args:
        leaks: result of `find_leaks`.
    """
    rows = []
    for leak in leaks.found:
        for first, second, value in leak.pairs[:SHOWN_PAIRS]:
            shown = {SAME_FILE: "identical", NEAR_DUPLICATE: f"similarity {value:.2f}"}
            detail = shown.get(leak.kind, f"{count_tracks(value)} in the group")
            rows.append([leak.source, leak.kind, f"{leak.tracks} of {leak.tested}", first, second, detail])
    text = (
        f"{leaks.describe()} Near-duplicates have acoustic fingerprints with a similarity of at least "
        f"{MIN_SIMILARITY:g}, such as versions of one recording in several formats. Leaks make scores too high."
    )
    notes = [f"{leak.kind}, {leak.source}: {leak.describe_shown()}." for leak in leaks.found if leak.describe_shown()]
    header = ["found in", "kind", leaks.tested, "track or group", "other track", "detail"]
    return Section("Leaks", [text, *notes], header, rows)
