"""`edgeprune build`: the stages in order, each from artifact to artifact, cached by what goes into it."""
