"""ActivityNet Captions: videos of two minutes that several timed sentences tell of."""
