"""YouCook2: cooking videos, each clip of which is described by a sentence."""
