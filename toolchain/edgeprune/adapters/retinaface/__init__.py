"""RetinaFace-MobileNet0.25 (arXiv 1905.00641): faces and their five landmarks."""
