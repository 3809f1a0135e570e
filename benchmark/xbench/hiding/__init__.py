"""Hide cells of an utterance, run the model, and measure what that does to the output.

References, interventions and perturbation methods all do this through here, so speed, memory
back-off and checks of precision serve every one of them.
"""
