"""Settings shared by all tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline: machines are shared. Derandomised: the same commit passes or fails the same way everywhere.
settings.register_profile("ssc_toolkit", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("ssc_toolkit")
