"""Building blocks of the models: sparse layers, Gaussian latents, biases, hiding."""
