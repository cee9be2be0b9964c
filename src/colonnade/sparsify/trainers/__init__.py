"""Sessions inside of other people's trainers."""
