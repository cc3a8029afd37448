"""Shared code of the data-set builders under `data/`: entries, records, captions, Beam, report."""
