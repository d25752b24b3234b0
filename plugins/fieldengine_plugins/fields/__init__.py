"""Fields that are not an encoding and an MLP."""
