"""Speech-to-text models: the protocol, loading and capture; a family each in `models.families`."""
