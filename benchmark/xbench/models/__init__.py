"""Speech-to-text models: one file per family over the protocol in `models.protocol`."""
