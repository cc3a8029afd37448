"""Metrics of predictions, and reports that show them."""
