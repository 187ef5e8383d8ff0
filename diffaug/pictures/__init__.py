"""Pictures: decoded and encoded, fitted to a model and back, and laid out in grids."""
