"""Search for similar tracks in a folder, which are nearest neighbors in the embedding space of an encoder.

The search is exact: a query is compared with every track, which is fast even for hundreds of thousands of tracks. If
FAISS is installed (`pip install faiss-cpu`), its flat index is used, with the same results.

    python examples/similarity_search.py music/ --encoder=runs/genre/encoder
    python examples/similarity_search.py music/ --encoder=runs/genre/encoder --query=some.mp3
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ssc_toolkit.data import TrackTable, check_audio, load_tracks
from ssc_toolkit.encoders import MelCNN, load_encoder
from ssc_toolkit.evaluation import embed_tracks

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("folder", type=Path, help="folder of music to search in")
arguments.add_argument("--encoder", type=Path, help="folder of a pretrained encoder; random weights by default")
arguments.add_argument(
    "--query", type=Path, help="file to find similar tracks for; by default all tracks of the folder"
)
arguments.add_argument("--neighbors", type=int, default=3)
arguments.add_argument("--window_seconds", type=float, default=3.0, help="length of a view in pretraining")
options = arguments.parse_args()


def exact_index(database: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine similarity and row number of the nearest database rows, both (queries, count), nearest first."""
    try:
        import faiss
    except ImportError:
        similarity, rows = (torch.from_numpy(queries) @ torch.from_numpy(database).T).topk(count)
        return similarity.numpy(), rows.numpy()
    index = faiss.IndexFlatIP(database.shape[1])
    index.add(database)
    return index.search(queries, count)


torch.manual_seed(0)
encoder = load_encoder(options.encoder) if options.encoder else MelCNN().eval()


def embed(tracks: TrackTable | pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Return paths and unit-length embeddings (tracks, dim), each the mean over the windows of a track."""
    usable = check_audio(tracks, min_seconds=options.window_seconds)  # shorter tracks are left out with a warning
    embeddings = embed_tracks(encoder, usable, options.window_seconds)
    return usable["path"].tolist(), embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


paths, database = embed(load_tracks(options.folder))
asked, queries = paths, database
if options.query:
    asked, queries = embed(pd.DataFrame({"path": [str(options.query.absolute())]}))

# Search one more neighbor than requested, because a query that is in the folder is its own nearest neighbor.
similarity, rows = exact_index(database, queries, min(options.neighbors + 1, len(paths)))
for path, scores, places in zip(asked, similarity, rows, strict=True):
    others = [(paths[place], score) for place, score in zip(places, scores, strict=True) if paths[place] != path]
    found = ", ".join(f"{Path(other).name} {score:.3f}" for other, score in others[: options.neighbors])
    print(f"{Path(path).name}: {found}")
