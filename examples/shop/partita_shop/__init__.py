"""The shop: one real order process in three forms, on real orders."""
