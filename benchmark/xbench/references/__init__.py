"""Reference saliency by perturbation: estimators, the references made of them, reliability and ceilings."""
