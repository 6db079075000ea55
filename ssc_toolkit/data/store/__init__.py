"""Audio stores, which are folders of decoded audio in memory-mapped files."""

from ssc_toolkit.data.store.layout import is_store
from ssc_toolkit.data.store.prepare import prepare_store
from ssc_toolkit.data.store.reader import AudioStore, open_store_of
from ssc_toolkit.data.store.verify import Verification, verify_store

__all__ = ["AudioStore", "Verification", "is_store", "open_store_of", "prepare_store", "verify_store"]
