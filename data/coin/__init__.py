"""COIN: how-to videos of 180 tasks, with the step that each part shows."""
