"""Semi-supervised contrastive learning of musical representations, as composable blocks."""

__version__ = "0.1.0"
