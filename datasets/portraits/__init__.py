"""Illustrated portraits with exact label maps: one module for each part of the picture.

`portrait.draw_portrait(rng, size)` is the way in. A portrait is drawn back to front on a `canvas.Canvas`,
which keeps the picture and its label map in step: both come from the same outlines.
"""
