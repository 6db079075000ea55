"""Probes on frozen embeddings, scores with few labels, and fine-tuning."""
