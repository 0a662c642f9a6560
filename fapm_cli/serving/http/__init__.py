"""HTTP: who may ask, what is read of it and how much, what is answered."""
