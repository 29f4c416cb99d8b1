"""What a finished run says about itself to others: mteb's results, cards of models and data, how it was made."""
