"""Pictures as SVG text, drawn by hand: no library, no external font, readable on white and on black.

| module | draws |
|---|---|
| `svg` | shapes and text on a canvas, with the style that all pictures share |
| `zones` | any list of (name, vertices) with a label inside each zone, and samples as a track |
| `triangle`, `pentagon` | Duval's diagrams |
| `chart` | axes, curves and limits over time |
| `trend`, `thermal` | a point with its forecast; top oil and hot spot with the load to come |

Each returns a whole document with a title and a description for screen readers.
"""
