"""The MSR-VTT data set: short web videos with about twenty sentences each."""
