"""The network: the backbone's input comes in, locally aware maps ψ go out (§2.1).

``backbones`` names the networks, and a new one is told there; its modules lie beside ``resnet``.
``extraction`` runs one and pools 3×3.
"""
