"""last-layer, a method for xbench."""
