"""Deep Compression: a model with fewer, shared or coarser weights, so that its `.fire` is small."""
