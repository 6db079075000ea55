"""Decoders that read any span of an audio file sample-exactly, for all supported containers and codecs."""
