"""ActivityNet Captions: two-minute videos, each described by several timed sentences."""
