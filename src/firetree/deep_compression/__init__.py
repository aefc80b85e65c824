"""Deep Compression: prune, share or round a model's weights, so that its `.fire` is small."""
