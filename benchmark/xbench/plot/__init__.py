"""Pictures for papers and notebooks (extra `plot`: matplotlib)."""
