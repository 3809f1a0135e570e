"""Reference saliency by perturbation: masks, segments, the estimator, reliability and ceilings."""
