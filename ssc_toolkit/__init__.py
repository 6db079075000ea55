"""PyTorch building blocks for semi-supervised contrastive learning of musical representations."""

__version__ = "0.1.0"
