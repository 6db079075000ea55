"""Probes on frozen embeddings, few labels, fine-tuning."""
