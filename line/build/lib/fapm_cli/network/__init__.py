"""The network: the backbone's input comes in, locally aware maps ψ go out (§2.1).

``backbones`` is the table of the networks: a new one is a row there, and its modules lie beside
``resnet``. ``extraction`` runs one, batch norm ``folding`` away, and pools 3×3.
"""
