"""Decoders of audio files. A decoded section of a file equals the same section of the whole decoded file."""
