"""Training to N:M sparsity: patterns, recipes that restrict the flow of gradients, and weights."""
