"""The search for the fastest network within the accuracy budget, by short recoveries and long ones."""
