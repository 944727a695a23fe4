"""Services that react: declarations, contracts, dispatch."""
