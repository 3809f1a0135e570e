"""Hide cells of an utterance, run the model, and measure what that does to the output.

References, intervention metrics and perturbation methods all hide cells through this package. So the fast
passes, the smaller batches when memory runs out, and the checks of precision serve all of them.
"""
