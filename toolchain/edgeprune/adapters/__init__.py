"""One folder or file a kind of model: how it is loaded, pruned, trained, exported and evaluated."""
