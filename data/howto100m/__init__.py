"""HowTo100M: instructional videos and their narration."""
