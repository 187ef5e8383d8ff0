"""Whether an OUTPUT is still what its manifest says: verified, replayed, and cleaned."""
