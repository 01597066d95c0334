"""The one page at `/`: `view` is what it says, `chart` lays out a curve, `templates` draw it."""
