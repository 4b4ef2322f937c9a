"""Scoring of the models on measured data with known truth: files in, figures out."""
