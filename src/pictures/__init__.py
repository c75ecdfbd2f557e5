"""Convert picture files to arrays and back, at their own depth: the one decoder of every command.

Ground floor: it handles bytes and arrays, and no folders, data sets or models.
"""

from .decode import MAX_FILE, SUFFIXES, Picture, open_picture
from .encode import WRITERS, png_bytes, tiff_bytes
from .resize import fit_picture

__all__ = ["MAX_FILE", "SUFFIXES", "WRITERS", "Picture", "fit_picture", "open_picture", "png_bytes", "tiff_bytes"]
