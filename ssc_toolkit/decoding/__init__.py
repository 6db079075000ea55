"""Decode spans of audio files exactly, whatever their container and codec."""
