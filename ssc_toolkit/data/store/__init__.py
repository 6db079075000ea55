"""Audio stores, which are folders of decoded audio in memory-mapped files."""
