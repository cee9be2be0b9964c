"""One file for each modifier; `colonnade.sparsify.registry` lists them."""
