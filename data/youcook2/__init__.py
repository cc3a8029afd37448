"""YouCook2: cooking videos in which a sentence describes each clip."""
