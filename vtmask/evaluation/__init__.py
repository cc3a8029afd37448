"""Metrics of predictions, evaluations of tasks, and reports that show them."""
