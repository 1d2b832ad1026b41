"""Tiny random checkpoints: their shapes, their weights, and the form that folders on the hub have."""
