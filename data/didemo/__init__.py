"""DiDeMo: personal videos with sentences about moments in them."""
