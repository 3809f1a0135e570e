"""The formats in which checkpoints are handed around; `recognised` is the door, the other modules read one each."""
