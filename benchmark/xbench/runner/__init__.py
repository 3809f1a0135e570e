"""From a RunSpec to results: plan (what), stages (per utterance), evaluate (in order), assemble."""
