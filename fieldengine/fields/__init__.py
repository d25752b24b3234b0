"""Fields: what is fitted. Each is an encoding, an MLP made by an activation, and a way to answer."""
