"""What travels: events and commands, their envelope, their types."""
