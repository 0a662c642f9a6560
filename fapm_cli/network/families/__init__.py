"""The networks' modules in torch, a file for each family: what the architectures describe."""
