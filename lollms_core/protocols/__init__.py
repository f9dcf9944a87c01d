"""Protocols that more than one backend speaks, without IO."""
