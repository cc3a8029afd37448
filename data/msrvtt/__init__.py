"""MSR-VTT: short web videos with about twenty sentences each."""
