"""Converts published weights to our exports, and back: MMPT's VLM and VideoCLIP, BERT, S3D.

`names` and `s3d` map published names to our paths, and `arrays` maps published arrays to our
parameters. `read` and `write` handle files; `conversion` joins them.
"""

from vtmask.convert.arrays import Parameters, parameters, s3d_from_published
from vtmask.convert.conversion import convert, to_export
from vtmask.convert.names import path_of
from vtmask.convert.options import Options
from vtmask.convert.read import state_dict
from vtmask.convert.write import published_weights, to_published

__all__ = [
    "Options",
    "Parameters",
    "convert",
    "parameters",
    "path_of",
    "published_weights",
    "s3d_from_published",
    "state_dict",
    "to_export",
    "to_published",
]
