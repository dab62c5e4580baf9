"""Scoring of trained checkpoints, the gates before a score is stored, and reports."""
