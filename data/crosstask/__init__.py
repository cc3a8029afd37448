"""CrossTask: how-to videos of tasks whose steps are listed, with the times of the steps."""
