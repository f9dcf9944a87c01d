"""`LollmsClient`, and what is between its calls and the hooks of a backend."""
