"""What a user gives: recipes, target profiles, and the bounds of every number."""
