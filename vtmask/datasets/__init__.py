"""What the data-set builders under `data/` share: reading foreign files and captions."""
