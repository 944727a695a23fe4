"""The one place where the rooms meet: the app, its engine, its doors."""
