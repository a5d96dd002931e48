"""Where tasks run: ``local`` runs them in this process."""
