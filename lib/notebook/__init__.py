"""What stands in the notebooks themselves: their first cell, and the exercises that are made of them."""
