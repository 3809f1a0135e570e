"""What people decide with maps: when a streaming system may write a word, and at what time a word was said.

Faithfulness asks whether a map says what the model listened to. Here it is asked what follows where somebody relies on
the map. Everything is computed from stored maps and references; no model is loaded.
"""
