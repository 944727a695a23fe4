"""How messages are carried from where they are written to where they are handled."""
