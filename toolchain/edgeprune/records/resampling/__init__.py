"""How sure a difference of two accuracies is: the paired bootstrap over images, in numpy alone."""
