"""The demo data set: short rendered how-to videos with narration and every kind of annotation."""
