"""The DiDeMo data set: personal videos with sentences about moments of them."""
