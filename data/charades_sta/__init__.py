"""Charades-STA: videos of what people do at home, with sentences about parts of them."""
