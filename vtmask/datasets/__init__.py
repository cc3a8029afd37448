"""What the data-set builders under `data/` share: entries, records, captions, Beam, the report."""
