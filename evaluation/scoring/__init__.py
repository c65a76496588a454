"""What is measured of an edited model, with which text, against which reference."""
