"""Charades-STA: videos of activities at home, with sentences about parts of them."""
